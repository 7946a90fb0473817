"""Methods of RLVR by name. Each is a task of the RL loop that replaces a seam or two of `SolveProblems`, in a file of
its own with its equation and source; what differs from the source stands after "Ours"."""

from ra3.rl.methods.aipo import Aipo
from ra3.rl.methods.archer import Archer
from ra3.rl.methods.critique_grpo import CritiqueGrpo
from ra3.rl.methods.dars import Dars
from ra3.rl.methods.direct_advantage import DirectAdvantage
from ra3.rl.methods.forking_tokens import ForkingTokens
from ra3.rl.methods.grpo_roc import GrpoRoc
from ra3.rl.methods.gspo import Gspo
from ra3.rl.methods.guide import Guide
from ra3.rl.methods.inverted_reward import InvertedReward
from ra3.rl.methods.laser import Laser
from ra3.rl.methods.latro import Latro
from ra3.rl.methods.length_stages import LengthStages
from ra3.rl.methods.lp_reg import LpReg
from ra3.rl.methods.mdpo import Mdpo
from ra3.rl.methods.mopps import Mopps
from ra3.rl.methods.nlpo import Nlpo
from ra3.rl.methods.pacs import Pacs
from ra3.rl.methods.pass_at_k import PassAtK
from ra3.rl.methods.pods import Pods
from ra3.rl.methods.prorl import ProRl
from ra3.rl.methods.random_reward import RandomReward
from ra3.rl.methods.rest_grpo import RestGrpo
from ra3.rl.methods.rlpr import Rlpr
from ra3.rl.methods.rover import Rover
from ra3.rl.methods.sample_replay import SampleReplay
from ra3.rl.methods.sar import Sar
from ra3.rl.methods.scale_rl import ScaleRl
from ra3.rl.methods.shuffle_r1 import ShuffleR1
from ra3.rl.methods.spo import Spo
from ra3.rl.methods.ssrl import Ssrl
from ra3.rl.methods.subnetwork import Subnetwork
from ra3.rl.methods.supo import Supo
from ra3.rl.methods.tree_po import TreePo
from ra3.rl.methods.verifree import VeriFree
from ra3.rl.methods.zero_search import ZeroSearch
from ra3.rl.solve import SolveProblems

KINDS: dict[str, tuple[type[SolveProblems], ...]] = {
    "Losses": (Gspo, Pacs, Mdpo, Aipo, LpReg, Rover, ProRl, ScaleRl),
    "Credit": (Spo, DirectAdvantage, PassAtK, ForkingTokens),
    "Rewards": (Rlpr, VeriFree, Latro, Sar, Laser, RandomReward, InvertedReward),
    "Rollouts": (TreePo, RestGrpo, Guide, CritiqueGrpo, Dars),
    "Which problems and rows": (Mopps, ShuffleR1, Pods, SampleReplay, LengthStages),
    "Adapters and decoding": (Subnetwork, Nlpo),
    "Turns and tools": (GrpoRoc, ZeroSearch, Ssrl, Supo, Archer),
}
"""Every method under what it replaces; the file that it stands in has its name."""

METHODS: dict[str, type[SolveProblems]] = {"policy_gradient": SolveProblems} | {
    kind.__module__.rpartition(".")[2]: kind for kinds in KINDS.values() for kind in kinds
}
