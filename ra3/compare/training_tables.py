"""Tables of what training cost and how RLVR went."""

from __future__ import annotations

from statistics import mean

from ra3.compare.aggregate import by_system
from ra3.compare.equal_flops import twin_of
from ra3.compare.plan import AFTER
from ra3.compare.results import SMOOTH, Record
from ra3.compare.table import Table, bounds, count, numbers, points, shown, unique


def cost_table(results: Record) -> Table:
    """What training cost, mean over seeds, and how many times the FLOPs and CPU time of the baseline."""
    keys, body = ("flops", "generated", "scored", "trained", "cpu_s"), []
    costs = {name: [c["cost"] for c in own if c["cost"]] for name, own in by_system(results["cells"]).items()}
    means = {name: {key: mean(c[key] for c in own) for key in keys} for name, own in costs.items() if own}
    for name, own in means.items():
        unit = means.get(results["baseline"] + (AFTER if name.endswith(AFTER) else ""), {})
        times = [f"{own[key] / unit[key]:.2f}" if unit.get(key) else "" for key in ("flops", "cpu_s")]
        peak = max(c["peak_mib"] for c in costs[name])
        counts = [count(own[key]) for key in keys[1:4]]
        line = (f"{own['flops'] / 1e12:.3g}", times[0], *counts, f"{own['cpu_s']:.0f}", times[1], f"{peak:.0f}")
        body.append((shown(name), *line))
    intro = (
        "Mean over seeds of the last stage, mid-training or RLVR, held-out measuring left out. Overhead: multiples of "
        f"{results['baseline']}."
    )
    head = ("system", "TFLOP", "overhead", "generated", "scored", "trained", "CPU s", "overhead", "peak MiB")
    return Table("Cost of training", intro, head, body)


def budget_table(results: Record) -> Table:
    """What the twins at equal FLOPs got, what it was read from, and what they took."""
    budgets, took = results["budgets"], {(c["system"], c["seed"]): c["cost"] for c in results["cells"]}
    body = []
    for name in unique(b["variant"] for b in budgets):
        own = [b for b in budgets if b["variant"] == name]
        share = f"{100 * mean(b['before'] / b['flops'] for b in own):.0f}%"
        keys = unique(key for b in own for key in b["settings"])
        given = {key: [count(b["settings"][key]) for b in own if key in b["settings"]] for key in keys}
        found = [cost["flops"] / b["flops"] for b in own if (cost := took.get((twin_of(name), b["seed"])))]
        words = "; ".join(f"{key.rpartition('.')[2]} = {', '.join(values)}" for key, values in given.items())
        body.append((name, share, words or "none: it costs nothing", f"{mean(found):.2f}" if found else ""))
    intro = (
        f"Budget: what the mid-training of {results['equal_flops']} takes on the same seed, by the ledgers. Seed by "
        "seed; tokens are for each EM round. What is cheaper spends the rest on its M-steps; what is dearer is made "
        "smaller in all its parts."
    )
    head = ("variant", "E-step and annotation, share of the budget", "what the twin got", "taken over budget")
    return Table("Equal FLOPs", intro, head, body)


def steps_table(results: Record) -> Table:
    """RLVR steps to the other's final reward."""
    body = [
        (
            f"{shown(row['a'])} to {shown(row['b'])}", f"{row['median_share']:.2f}",
            ", ".join(f"{s:.2f}" for s in row["shares"]), points(*bounds(row["final"]), signed=True),
        )
        for row in results["steps"]
    ]  # fmt: skip
    intro = (
        "RLVR steps until the other's final reward is reached, as a share of its steps; inf: never. Rewards are "
        f"averaged over {SMOOTH} steps, at the start over those there are."
    )
    return Table("RLVR: how soon", intro, ("pair", "median", "seed by seed", "final reward, points apart"), body)


def sigmoids_table(results: Record) -> Table:
    """ScaleRL's parameters of the RLVR courses, and how far the asymptotes lie apart."""
    gaps = {}
    for row in results["sigmoid_differences"]:
        apart = points(row["mean"], row["low"], row["high"], signed=True)
        text = f"{apart} over {row['b'].removesuffix(AFTER)} ({row['seeds']})"
        gaps.setdefault(row["a"], []).append(text)
    body = [
        (
            row["system"].removesuffix(AFTER), f"{row['seeds']} of {row['courses']}", points(*bounds(row["asymptote"])),
            *(numbers(*bounds(row[part])) if part in row else "" for part in ("midpoint", "steepness")),
            "; ".join(gaps.get(row["system"], ())),
        )
        for row in results["sigmoids"]
    ]  # fmt: skip
    intro = (
        "R = R_0 + (A - R_0) / (1 + (C_mid / C)^B), fitted to each seed; mean with 95% interval over the seeds whose "
        "course shows its asymptote, because it levels off; in brackets over how many seeds A is paired."
    )
    head = ("mid-training", "seeds", "A, percent", "C_mid, updates", "B", "A, paired by seed")
    return Table("RLVR: curves as sigmoids", intro, head, body)
