"""The ledger: every second of a run is booked once, tokens are those of the metrics, and a restart cuts nothing."""

from __future__ import annotations

import time

import torch
from cli_runs import ra3
from small_runs import copy, midtrain
from torch.utils.flop_counter import FlopCounterMode

from ra3.model.update import forward_flops
from ra3.run.files import read_lines
from ra3.run.ledger import LEDGER, Ledger, by_kind, cost_table, read_ledger, total


def test_time_and_tokens_go_to_the_innermost_phase(tmp_path):
    start = time.perf_counter()
    with Ledger(tmp_path / LEDGER, 1) as ledger:
        ledger.at("estep-0")
        with ledger.phase("rollouts"):
            time.sleep(0.02)
            with ledger.phase("scoring"):
                time.sleep(0.4)
                ledger.count(scored=3, flops=7)
            ledger.count(generated=2)
    lasted = time.perf_counter() - start
    costs = read_ledger(tmp_path)
    assert set(costs) == {("start", "other"), ("estep-0", "other"), ("estep-0", "rollouts"), ("estep-0", "scoring")}
    rollouts, scoring = costs["estep-0", "rollouts"], costs["estep-0", "scoring"]
    assert 0.02 <= rollouts.wall_s < 0.4 <= scoring.wall_s and scoring.cpu_s < 0.2
    assert (rollouts.generated, rollouts.scored, scoring.scored, scoring.flops) == (2, 0, 3, 7)
    assert 0.9 * lasted < total(costs).wall_s <= lasted


def test_a_ledger_without_a_path_is_kept_in_memory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Ledger() as ledger:
        with ledger.phase("scoring"):
            ledger.count(scored=3, flops=7)
        ledger.flush()
    spent = ledger.costs["start", "scoring"]
    assert (spent.scored, spent.flops) == (3, 7) and spent.wall_s > 0
    assert list(tmp_path.iterdir()) == []


def test_attempts_add_up_and_broken_lines_are_passed_over(tmp_path):
    for attempt in (1, 2):
        with Ledger(tmp_path / LEDGER, attempt) as ledger, ledger.phase("training"):
            ledger.count(trained=5)
        with (tmp_path / LEDGER).open("a") as file:
            file.write('{"stage": "start", "phase": "training", "trained": "many", "wall_s": -1}\n{"stage": "st')
    assert read_ledger(tmp_path)["start", "training"].trained == 10


def test_other_ranks_add_their_cpu_seconds_alone(tmp_path):
    other = tmp_path / "logs" / "attempt_1.rank_1"
    other.mkdir(parents=True)
    for folder, seconds in ((tmp_path, 2), (other, 3)):
        (folder / LEDGER).write_text(f'{{"stage": "start", "phase": "training", "cpu_s": {seconds}, "trained": 5}}\n')
    spent = read_ledger(tmp_path)["start", "training"]
    assert (spent.cpu_s, spent.trained) == (5, 5)


def test_a_runs_tokens_are_those_of_its_metrics(whole):
    costs = read_ledger(whole)
    own = by_kind(costs)
    for stage in ("estep", "mstep"):
        lines = [line for line in read_lines(whole / "metrics.jsonl") if line["stage"] == stage]
        assert own[stage, "training"].trained == sum(line["tokens_trained"] for line in lines)
        generated = sum(line.get("tokens_generated", 0) for line in lines)
        assert stage == "mstep" or own[stage, "rollouts"].generated >= generated > 0
        assert own[stage, "training"].flops > 0 and own[stage, "training"].peak_mib > 50
    began, ended = ((whole / name).stat().st_mtime for name in ("config.json", "checkpoints/manifest.json"))
    assert total(costs).wall_s > 0.5 * (ended - began) > 0


def test_a_resumed_run_pays_twice_and_profile_shows_it(home, whole):
    run = copy(whole, "paid")
    before = read_ledger(run)
    words = midtrain("paid", "--profile", "--resume")
    for file in (run / "checkpoints").glob("mstep-0*"):
        file.unlink()
    ended = ra3(home, *words)
    assert ended.returncode == 0, ended.stderr
    after = read_ledger(run)
    assert by_kind(after)["mstep", "training"].trained > by_kind(before)["mstep", "training"].trained
    assert by_kind(after)["estep", "training"].trained == by_kind(before)["estep", "training"].trained
    assert cost_table(after).aligned() in ended.stdout


def test_rollouts_and_grading_of_rlvr_are_booked(whole_rl):
    own = by_kind(read_ledger(whole_rl))
    lines = [line for line in read_lines(whole_rl / "metrics.jsonl") if line["stage"] == "rlvr"]
    assert own["rlvr", "rollouts"].generated == sum(line["tokens_generated"] for line in lines) > 0
    assert own["rlvr", "grading"].wall_s > 0 and own["rlvr", "checkpoints"].wall_s > 0
    assert own["rlvr", "rollouts"].flops > 0


def test_flops_are_the_matrix_products(policy):
    length = torch.tensor([7])
    ids = torch.arange(1, 8)[None]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        policy.logits(policy.hidden(ids, torch.arange(7)[None]))
    config = policy.model.config
    attention = 4 * config.num_hidden_layers * config.hidden_size * (7 * 8 / 2)
    assert forward_flops(policy, length, 7) == counter.get_total_flops() + attention  # which it does not count on a CPU
