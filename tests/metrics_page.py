"""The page docs/metrics.md, made of the glossary of metrics:

    .venv/bin/python tests/metrics_page.py > docs/metrics.md
"""

from ra3.run.metrics import GLOSSARY

HEAD = """\
# Metrics

For those who watch a run.

Every key of `metrics.jsonl`, as the report's glossary explains it. A line also has `stage` (`estep`, `mstep` or
`rlvr`), `round` (of EM, from 0) and `step` (from 0). Wall-clock times are in `ledger.jsonl`, so that the same seed
gives the same `metrics.jsonl`. This page is made from `ra3/run/metrics.toml`, `tests/test_docs.py` compares the two:

    .venv/bin/python tests/metrics_page.py > docs/metrics.md

| Key | Meaning | Healthy | Sick |
|---|---|---|---|
"""


def metrics_page() -> str:
    """The page as text."""
    return HEAD + "".join(f"| `{key}` | {m.meaning} | {m.healthy} | {m.sick} |\n" for key, m in GLOSSARY.items())


if __name__ == "__main__":
    print(metrics_page(), end="")
