"""Planted bugs and the tests that catch them: `python tests/mutations.py [word]`.

Each mutation is made in a copy of the package, and the named test must then fail; all named tests must pass on the
package as it is. Ends with 1 if a bug is not caught. With a word, only mutations whose name contains it.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Mutation:
    """One planted bug."""

    name: str
    file: str
    right: str
    """Stands once in the file."""
    wrong: str
    caught_by: str
    """A test, as pytest is given it, in tests/."""


OWN_SCORES = "model/test_update.py::test_packed_scores_are_the_models_own"
FORMULAS, STEP, SAMPLER = (
    "rl/test_formulas.py::test_",
    "model/test_invariance.py::test_",
    "em/test_estimators.py::test_",
)
BY_HAND = FORMULAS + "policy_losses_by_hand"
ALONE = STEP + "packed_is_each_row_alone[float32-{}]"
BATCHING = STEP + "batching_padding_and_order_change_nothing[float32-{}]"
RATIO = "    ratio = (logp - logp_old).exp()\n    clipped"

MUTATIONS = (
    Mutation("sign of the policy loss", "rl/losses.py",
             "return -(weight * torch.min", "return (weight * torch.min", BY_HAND),
    Mutation("sign of the price", "rl/credit.py", "reward = fit - cost", "reward = fit + cost",
             SAMPLER + "the_exact_gradient_is_that_of_the_objective[False]"),
    Mutation("sign of the exact prior", "rl/credit.py", "logq - logp_prior", "logp_prior - logq",
             FORMULAS + "exact_prior_costs_log_odds_and_log_vocabulary"),
    Mutation("mask off by one: a token scored from its own hidden state", "model/update.py",
             "packed.token[at - 1]", "packed.token[at]", OWN_SCORES),
    Mutation("mask off by one: a step's reward goes to the step before", "rl/credit.py",
             "values)[:, 1:]", "values)[:, :-1]", FORMULAS + "step_sums_drop_the_context"),
    Mutation("mask: the prompt is trained on", "em/mstep.py", "rows.valid & (rows.step != CONTEXT)", "rows.valid",
             "model/test_update.py::test_the_prompt_and_padding_are_not_trained_on"),
    Mutation("mask: packed rows see each other", "model/attention.py", "(flat == 0).nonzero()[:, 0]",
             "(flat == 0).nonzero()[:1, 0]", OWN_SCORES),
    Mutation("positions go on from row to row", "model/policy.py", '"position_ids": positions,',
             '"position_ids": torch.arange(ids.shape[1])[None] if cache is None else positions,', OWN_SCORES),
    Mutation("mean over a micro-batch, RL", "rl/loop.py",
             "tokens.at(weight)", "tokens.at(weight) / tokens.at(weight).sum()", BATCHING.format("clip token_mean")),
    Mutation("mean over a micro-batch, M-step", "em/mstep.py", "1 / count)", "1 / len(tokens.row))",
             BATCHING.format("M-step")),
    Mutation("denominator of the rank", "model/lanes.py", "values.view_as(g)", "values.view_as(g) / 2",
             STEP + "two_ranks_are_one"),
    Mutation("every rank does everything", "model/lanes.py", "lanes * rank // count, lanes * (rank + 1) // count",
             "lanes", STEP + "two_ranks_are_one"),
    Mutation("a lane is left out", "ranks.py", "left + right for", "left for", STEP + "two_ranks_are_one"),
    Mutation("importance weight of CISPO not detached", "rl/losses.py", "clamp(max=1 + clip_high).detach()",
             "clamp(max=1 + clip_high)", BY_HAND),
    Mutation("policy detached", "rl/losses.py", RATIO, RATIO.replace("exp()", "exp().detach()"), BY_HAND),
    Mutation("reward from the policy in training, not from the frozen one", "em/estep.py",
             'policy if self.judge == "self" else self.pi', "policy",
             "em/test_midtrain.py::test_the_reward_comes_from_the_frozen_policy"),
    Mutation("baseline includes its own sample", "rl/advantages.py",
             "(total - returns) / (n - 1).clamp(min=1)", "total / n", FORMULAS + "advantages_of_one_pass_in_four"),
    Mutation("standard deviation with n", "rl/advantages.py",
             "sum(1, keepdim=True) / (n - 1)", "sum(1, keepdim=True) / n",
             FORMULAS + "advantages_of_one_pass_in_four"),
    Mutation("gamma one power too high", "rl/credit.py", "gamma**lag *", "gamma ** (lag + 1) *", FORMULAS + "returns"),
    Mutation("horizon one step too long", "rl/credit.py", "min(horizon, num_steps)", "min(horizon + 1, num_steps)",
             FORMULAS + "returns"),
    Mutation("old and new log-probability swapped", "rl/losses.py",
             RATIO, RATIO.replace("logp - logp_old", "logp_old - logp"), BY_HAND),
    Mutation("clip bounds swapped", "rl/losses.py",
             "clamp(1 - clip_low, 1 + clip_high)", "clamp(1 - clip_high, 1 + clip_low)", BY_HAND),
    Mutation("maximum for minimum", "rl/losses.py", "torch.minimum", "torch.maximum", BY_HAND),
    Mutation("importance weight of the think floor missing", "rl/credit.py", "decision) * rows.importance", "decision)",
             SAMPLER + "bias_is_as_documented[think floor]"),
    Mutation("comments compared with all, whatever is asked for", "rl/credit.py",
             "compare(at.think)", "compare(at.decided)",
             SAMPLER + "bias_is_as_documented[leave_one_out, comments among thinkers]"),
    Mutation("temperature forgotten in training", "rl/loop.py", "update, loss.temperature, live", "update, 1.0, live",
             ALONE.format("clip token_mean")),
    Mutation("sign of the slope of a loss of rows", "rl/loop.py", "rows, -slope * chosen", "rows, slope * chosen",
             "rl/test_rlvr_methods.py::test_a_step_on_a_loss_of_rows_follows_its_own_gradient"),
    Mutation("GSPO's ratio is the product, not the geometric mean", "rl/methods/gspo.py",
             ".sum(1) / count).exp()", ".sum(1)).exp()",
             "rl/test_rlvr_methods.py::test_gspo_is_the_policy_gradient_of_programs_until_it_clips_one"),
    Mutation("ratios to the policy, not to what wrote the tokens", "rl/off_policy.py",
             "(logp, self.behaviour,", "(logp, rows.logp_old,",
             "rl/test_methods_of_rollouts.py::test_off_policy_ratios_are_to_what_wrote_the_tokens"),
    Mutation("a segment is paid for what it takes away", "rl/prefixes.py",
             "torch.tensor([*own[1:], float(end[r])]) - torch.tensor(own)",
             "torch.tensor(own) - torch.tensor([*own[1:], float(end[r])])",
             "rl/test_methods_of_rollouts.py::"
             "test_a_segment_is_paid_for_what_it_adds_and_a_single_one_the_verdict_against_the_group"),
    Mutation("what goes on from a beginning is as long as a whole program", "rollout/generate.py",
             "params.max_new_tokens - len(ids) for ids in begun", "params.max_new_tokens for ids in begun",
             "rl/test_methods_of_rollouts.py::test_completions_go_on_from_what_is_begun"),
    Mutation("a step after act not divided by 1 - P(#)", "model/action_spaces.py", "logp - logp_action, logp)",
             "logp, logp)", "em/test_midtrain.py::test_one_latent_and_horizon_one_is_the_one_shot_form"),
)  # fmt: skip


def planted(mutation: Mutation | None, folder: Path) -> None:
    """A copy of the package in `folder`, with the bug."""
    shutil.copytree(ROOT / "ra3", folder / "ra3", ignore=shutil.ignore_patterns("__pycache__"))
    if mutation:
        path = folder / "ra3" / mutation.file
        path.write_text(path.read_text().replace(mutation.right, mutation.wrong))


def passes(mutation: Mutation | None, tests: list[str]) -> bool:
    """Whether the tests pass on a copy of the package with the bug, in a process that has torch already."""
    import pytest

    with tempfile.TemporaryDirectory() as name:
        planted(mutation, Path(name))
        child = os.fork()
        if child == 0:
            sys.path.insert(0, name)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(1, 2)
            options = ["-x", "-q", "-p", "no:cacheprovider", f"--basetemp={name}/tmp", f"--rootdir={ROOT}"]
            options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # for what is imported already
            code = pytest.main([*options, *(str(ROOT / "tests" / test) for test in tests)])
            import ra3

            os._exit(int(code) if str(ra3.__file__).startswith(name) else 99)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code not in (0, 1):
        raise RuntimeError(f"{mutation}: pytest ended with {code}")
    return code == 0


def load_what_is_not_ours() -> None:
    """Imports everything that the package imports, once for all processes to come, but not the package."""
    import transformers.models.gpt2.modeling_gpt2
    import transformers.models.llama.modeling_llama  # noqa: F401

    import ra3.midtrain  # noqa: F401

    for name in [name for name in sys.modules if name.split(".")[0] == "ra3"]:
        del sys.modules[name]


def main() -> int:
    """Prints what catches what."""
    load_what_is_not_ours()
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    chosen = [m for m in MUTATIONS if word in m.name]
    if not passes(None, sorted({m.caught_by for m in chosen})):
        print("the tests do not pass on the package as it is")
        return 1
    missed = 0
    for mutation in chosen:
        escaped = passes(mutation, [mutation.caught_by])
        missed += escaped
        word = "NOT CAUGHT" if escaped else "caught"
        print(f"{word} | {mutation.name} | ra3/{mutation.file} | {mutation.caught_by}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} bugs caught")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
