"""Mid-training methods by name: RA3, next-token prediction and RA3's rivals, each a few lines on the same hooks."""

from ra3.em_round import Method
from ra3.methods.bootstrap import BOOTSTRAP
from ra3.methods.brite import BRITE
from ra3.methods.distilled import DISTILLED
from ra3.methods.iwae import IWAE
from ra3.methods.mixed import MIXED
from ra3.methods.ntp import NTP
from ra3.methods.paper import RA3
from ra3.methods.rlp import RLP
from ra3.methods.rlpt import RLPT

METHODS: dict[str, Method] = {
    "ra3": RA3,
    "ntp": NTP,
    "mixed": MIXED,
    "distilled": DISTILLED,
    "bootstrap": BOOTSTRAP,
    "iwae": IWAE,
    "brite": BRITE,
    "rlp": RLP,
    "rlpt": RLPT,
}
