"""Mid-training methods by name: RA3, next-token prediction and RA3's rivals, each a few lines on the same hooks."""

from ra3.em.methods.bootstrap import BOOTSTRAP
from ra3.em.methods.brite import BRITE
from ra3.em.methods.distilled import DISTILLED
from ra3.em.methods.iwae import IWAE
from ra3.em.methods.mixed import MIXED
from ra3.em.methods.ntp import NTP
from ra3.em.methods.ra3 import RA3
from ra3.em.methods.rlp import RLP
from ra3.em.methods.rlpt import RLPT
from ra3.em.round import Method

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
