"""Methods of RLVR by name. Each is a task of the RL loop that replaces a seam or two of `SolveProblems`, in a file of
its own with its equation and source; what differs from the source stands after "Ours"."""

from ra3.rl.methods.aipo import Aipo
from ra3.rl.methods.dars import Dars
from ra3.rl.methods.gspo import Gspo
from ra3.rl.methods.inverted_reward import InvertedReward
from ra3.rl.methods.laser import Laser
from ra3.rl.methods.latro import Latro
from ra3.rl.methods.lp_reg import LpReg
from ra3.rl.methods.mdpo import Mdpo
from ra3.rl.methods.mopps import Mopps
from ra3.rl.methods.pacs import Pacs
from ra3.rl.methods.pods import Pods
from ra3.rl.methods.prorl import ProRl
from ra3.rl.methods.random_reward import RandomReward
from ra3.rl.methods.rlpr import Rlpr
from ra3.rl.methods.rover import Rover
from ra3.rl.methods.sar import Sar
from ra3.rl.methods.scale_rl import ScaleRl
from ra3.rl.methods.shuffle_r1 import ShuffleR1
from ra3.rl.methods.verifree import VeriFree
from ra3.rl.solve import SolveProblems

METHODS: dict[str, type[SolveProblems]] = {
    "policy_gradient": SolveProblems,
    "gspo": Gspo,
    "pacs": Pacs,
    "mdpo": Mdpo,
    "aipo": Aipo,
    "lp_reg": LpReg,
    "rover": Rover,
    "prorl": ProRl,
    "sar": Sar,
    "laser": Laser,
    "mopps": Mopps,
    "scale_rl": ScaleRl,
    "shuffle_r1": ShuffleR1,
    "dars": Dars,
    "pods": Pods,
    "random_reward": RandomReward,
    "inverted_reward": InvertedReward,
    "verifree": VeriFree,
    "rlpr": Rlpr,
    "latro": Latro,
}
