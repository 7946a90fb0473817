"""How many weights training changed (arXiv 2505.11711): as they are, and as bfloat16 would round them.

    python perf/changed_weights.py BASE MODEL [MODEL ...]

BASE and MODEL are folders of models with the same weights' names. A weight counts as changed where it differs at all;
in the last column where the two differ once both are rounded to bfloat16, as a bfloat16 model would be saved. The rank
is the smallest share of singular values that holds 99% of a matrix's squared change, averaged over matrices.
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor


def weights(folder: Path) -> dict[str, Tensor]:
    """{name: weight} of a model's folder."""
    return {name: w.float() for file in sorted(folder.glob("*.safetensors")) for name, w in load_file(file).items()}


def rank_share(change: Tensor) -> float:
    """Singular values that hold 99% of the squared change, as a share of all of them."""
    held = torch.linalg.svdvals(change).square().cumsum(0)
    return (int((held < 0.99 * held[-1]).sum()) + 1) / len(held)


def report(base: dict[str, Tensor], other: dict[str, Tensor]) -> str:
    """Share changed in float32 and in bfloat16, and the mean share of the rank."""
    total = sum(w.numel() for w in base.values())
    exact = sum(int((base[name] != other[name]).sum()) for name in base)
    rounded = sum(int((base[name].bfloat16() != other[name].bfloat16()).sum()) for name in base)
    matrices = [other[name] - w for name, w in base.items() if w.ndim == 2 and not torch.equal(w, other[name])]
    rank = sum(map(rank_share, matrices)) / max(len(matrices), 1)
    return f"{100 * exact / total:.1f}% changed, {100 * rounded / total:.1f}% in bfloat16, rank {100 * rank:.0f}%"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path)
    parser.add_argument("models", type=Path, nargs="+")
    given = parser.parse_args()
    first = weights(given.base)
    for model in given.models:
        print(f"{model}: {report(first, weights(model))}")
