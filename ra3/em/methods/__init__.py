"""Methods of mid-training by name: RA3, next-token prediction and RA3's rivals. Each is a function of an EM round, in a
file of its own with its equation and source; what differs from the source stands after "Ours"."""

from ra3.em.methods.bootstrap import bootstrap
from ra3.em.methods.branches import branches
from ra3.em.methods.brite import brite
from ra3.em.methods.distilled import distilled
from ra3.em.methods.hindsight import hindsight
from ra3.em.methods.iwae import iwae
from ra3.em.methods.mixed import mixed
from ra3.em.methods.ntp import ntp
from ra3.em.methods.ra3 import ra3
from ra3.em.methods.rlp import rlp
from ra3.em.methods.rlpt import rlpt
from ra3.em.round import Method

METHODS: dict[str, Method] = {
    method.__name__: method
    for method in (ra3, branches, ntp, mixed, distilled, bootstrap, hindsight, iwae, brite, rlp, rlpt)
}
