"""Next-token prediction, the baseline: RA3 with c = inf.

max_pi sum_t log pi(a_t | s_t)
"""

from ra3.em.round import Method, keep
from ra3.rollout.interleave import expert_rows

NTP = Method(discover=keep, write_in=lambda this, q: expert_rows(q, this.documents))
