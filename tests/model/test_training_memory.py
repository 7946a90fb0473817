"""What saves memory and time in training changes no number: shared beginnings, gradients in place, recomputation."""

from __future__ import annotations

import math
import sys
from dataclasses import replace

import pytest
import torch
from conftest import make_model_folder, make_policy, passes

from ra3.cli import main
from ra3.commands import memory as memory_plan
from ra3.commands.memory import activations, refuse_too_large, update_tokens
from ra3.commands.memory import memory_plan as plan_of
from ra3.config.settings import Config, LoraSettings, MidtrainSettings, UpdateSettings
from ra3.em.mstep import next_token_step
from ra3.model.action_spaces import log_probability
from ra3.model.lora import Lora
from ra3.model.update import make_optimizer
from ra3.rl.loop import PolicyLoss, policy_step
from ra3.rl.losses import clipped_policy_loss
from ra3.rollout.generate import SamplingParams, generate


@pytest.fixture(scope="module")
def programs(policy):
    """Three completions of each of two prompts of 6 and 9 tokens."""
    return generate(policy, [[5, 6, 7, 8, 9], [9, 8, 7, 6, 5, 4, 3, 2]], 3, SamplingParams(6), list(range(6)))


def gradients(policy, step):
    """Every parameter's gradient after a step on a copy that its optimiser does not move."""
    twin = policy.snapshot()
    numbers = step(twin, make_optimizer(twin.model, "adamw", 0.0))
    return numbers, [p.grad for p in twin.model.parameters()]


def learning_from(rows, advantage, update):
    return lambda twin, optimizer: policy_step(
        twin, optimizer, rows, advantage, PolicyLoss(clipped_policy_loss, 0.2, 0.28), update
    )


def test_the_prompt_of_a_group_is_read_once_in_a_micro_batch(programs):
    (packed,) = passes(programs, 1000)
    in_all, prompts = int(programs.length.sum()), 2 * 6 + 2 * 9
    assert len(packed.ids) <= in_all - prompts
    assert len(packed.token) == in_all
    per_row = list(passes(programs, 1))
    assert [len(p.ids) for p in per_row] == [len(p.token) for p in per_row]


def test_a_row_that_can_teach_nothing_costs_no_backward_pass_and_changes_nothing(policy, programs):
    advantage = torch.tensor([1.0, -1.0, 0.0, 0.0, 0.0, 0.0])[:, None] * programs.action_mask
    numbers, found = gradients(policy, learning_from(programs, advantage, UpdateSettings()))
    tiny = advantage + 1e-30 * programs.action_mask  # not 0: every row is taken back
    all_numbers, expected = gradients(policy, learning_from(programs, tiny, UpdateSettings()))
    for mine, its in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, its, atol=1e-6, rtol=1e-5)
    for name in ("loss", "entropy", "logp_gap_max", "tokens_trained", "clip_share"):
        assert numbers[name] == pytest.approx(all_numbers[name], abs=1e-5)


@pytest.mark.parametrize("tied", [True, False])
def test_the_gradient_is_the_librarys_own(tmp_path, programs, tied):
    policy = make_policy(tmp_path, "llama", tie_word_embeddings=tied)
    rows = replace(programs, step=programs.action_mask.long() - 1, expert=programs.action_mask)
    _, found = gradients(
        policy, lambda twin, optimizer: next_token_step(twin, optimizer, rows, UpdateSettings(max_grad_norm=1e9))
    )
    twin, total = policy.snapshot(), torch.zeros(())
    for r in range(len(rows)):
        ids = torch.tensor(rows.tokens(r))
        logp = twin.model(ids[None]).logits[0].log_softmax(-1)[:-1].gather(-1, ids[1:, None])[:, 0]
        total = total - logp[rows.action_mask[r, 1 : len(ids)]].sum() / rows.action_mask.sum()
    total.backward()
    for mine, its in zip(found, [p.grad for p in twin.model.parameters()], strict=True):
        torch.testing.assert_close(mine, its, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("act", ["M-step", "RL step"])
def test_recomputing_activations_keeps_less_and_computes_the_same(policy, programs, act):
    advantage = torch.tensor([1.0, -1.0, 0.5])[:, None].repeat(2, 1) * programs.action_mask
    kept = {}

    def run(again: bool):
        update = UpdateSettings(checkpoint_activations=again)
        step = learning_from(programs, advantage, update)
        if act == "M-step":
            rows = replace(programs, step=programs.action_mask.long() - 1, expert=programs.action_mask)
            step = lambda twin, optimizer: next_token_step(twin, optimizer, rows, update)  # noqa: E731
        sizes = []

        def pack(x):
            sizes.append(x.numel())
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            found = gradients(policy, step)
        kept[again] = sum(sizes)
        return found

    (numbers, plain), (same_numbers, recomputed) = run(False), run(True)
    assert numbers == same_numbers
    assert all(torch.equal(a, b) for a, b in zip(plain, recomputed, strict=True))
    assert kept[True] < kept[False] / 2


def test_the_log_probability_has_the_gradient_of_its_formula():
    logits = torch.randn(4, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    ids = torch.tensor([0, 6, 3, 3])
    torch.testing.assert_close(log_probability(logits, ids), logits.log_softmax(-1).gather(-1, ids[:, None])[:, 0])
    assert torch.autograd.gradcheck(lambda x: log_probability(x, ids), logits)


def test_the_plan_adds_up(policy):
    text = policy.model.config
    layer = 16 * text.hidden_size + 4 * text.intermediate_size
    assert activations(policy, 10, False) == 10 * text.num_hidden_layers * layer * 4
    assert activations(policy, 10, True) == 10 * (text.num_hidden_layers * text.hidden_size + layer) * 4
    plan = plan_of(policy, Config(), "rlvr")
    size = 4 * policy.num_parameters
    assert plan.weights / 2 == plan.gradients == plan.moments / 2 == plan.saving / 3 == size
    assert plan.peak == plan.fixed + max(plan.activations + plan.logits, plan.rollouts)
    assert plan_of(policy, Config(), "midtrain").weights == 3 * size
    assert plan_of(replace(policy, dtype=torch.bfloat16), Config(), "midtrain").weights == 3.5 * size
    assert plan_of(policy, Config(), "eval").moments == 0 == plan_of(policy, Config(), "eval").saving


def test_a_pass_is_no_larger_than_an_update():
    """32 rows of 10 or 20 tokens: 480, and twice 5 sqrt(32) more."""
    own = MidtrainSettings()
    assert update_tokens(own, [10, 20]) == 480 + math.ceil(10 * math.sqrt(32)) == 537
    assert update_tokens(own, [10]) == 320


def test_few_short_rows_are_planned_for_as_such(policy):
    few, many = (plan_of(policy, Config(), "midtrain", lengths) for lengths in ([10, 20], [1000] * 4))
    assert (few.pass_tokens, many.pass_tokens) == (537, 2048)
    assert few.activations < many.activations and few.rollouts < many.rollouts


def test_with_an_adapter_the_model_is_held_once(policy):
    adapted = replace(policy, lora=Lora(LoraSettings(rank=2), 0))
    plan, size = plan_of(adapted, Config(), "midtrain"), 4 * policy.num_parameters
    learning = 4 * sum(p.numel() for p in adapted.learner().model.parameters() if p.requires_grad)
    assert plan.gradients == plan.moments / 2 == learning < size / 4
    assert plan.weights == size + learning and plan.saving == size


@pytest.mark.parametrize(("command", "rows"), [("eval", 128), ("annotate", 128), ("midtrain", 128), ("rlvr", 6)])
def test_sampling_is_planned_for_the_rows_that_are_alive_at_once(policy, command, rows):
    """On a CPU 128, whatever is asked for, and those of an update while the model learns."""
    config = Config.model_validate({"rlvr": {"batch_problems": 2, "samples": 3}})
    text = policy.model.config
    width = text.num_key_value_heads * text.hidden_size // text.num_attention_heads
    of_a_row = 2 * 4 * 50 * text.num_hidden_layers * width + 4 * memory_plan.LOGITS_HELD * text.vocab_size
    plan = plan_of(policy, config, command, [50])
    assert plan.sampling == rows * of_a_row
    assert plan.rollouts == {"rlvr": 6, "midtrain": 16}.get(command, 0) * of_a_row


@pytest.mark.parametrize(
    ("machine", "fix"),
    [
        (lambda p: p.fixed / 2, "smaller model"),
        (lambda p: p.fixed + p.logits, "checkpoint_activations"),
    ],
)
def test_what_cannot_fit_is_refused_with_what_helps(policy, machine, fix):
    config = Config.model_validate({"rlvr": {"batch_problems": 1, "samples": 2}})
    plan = plan_of(policy, config, "rlvr")
    refuse_too_large(plan, config)
    with pytest.raises(ValueError, match=fix):
        refuse_too_large(replace(plan, machine=machine(plan)), config)


def test_the_command_line_says_what_it_needs_and_refuses_what_cannot_fit(tmp_path, capsys):
    make_model_folder(tmp_path / "endless", max_position_embeddings=2 * 10**8)
    words = ["rlvr", "--run.out", str(tmp_path / "runs"), "--run.threads", "1", "--model.weights", "random"]
    huge = ["--model", str(tmp_path / "endless"), "--rlvr.max-new-tokens", "100000000"]
    huge += ["--update.micro-batch-tokens", "100000000"]
    assert main([*words, *huge]) == 2
    told = capsys.readouterr()
    assert "does not fit in memory" in told.err + told.out and "fix:" in told.err + told.out
    assert not (tmp_path / "runs").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="cgroups")
def test_a_container_with_less_memory_counts(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory_plan, "CGROUP_LIMITS", (str(limit),))
    whole = memory_plan.machine_bytes(torch.device("cpu"))
    for text, found in (("max", whole), ("1000000", 1e6)):
        limit.write_text(text + "\n")
        assert memory_plan.machine_bytes(torch.device("cpu")) == found
