"""The commands as functions, for Python: what `ra3 midtrain` and its like do, which call them.

    import ra3.api as ra3

    trained = ra3.midtrain("tiny-cpu", {"corpus.documents": 60}, name="first")
    scores = ra3.evaluate({"eval.per_band": 5}, model=trained.model).results.scores

Every function takes recipes, each by name, by path, or as a mapping of settings by dotted key; later ones win, mappings
over files, and keywords over all. A setting that is wrong is a `ra3.errors.UserError`, as is all that a user can mend.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from ra3.config import load as config
from ra3.run.inspect import InspectedRun, finished_run

if TYPE_CHECKING:
    from ra3.model.policy import Policy

Recipe = str | Path | Mapping[str, Any]
"""A shipped recipe's name, a file, or settings: ``{"midtrain.em_rounds": 2, "rlvr.clip": (0.2, 0.3)}``."""


class ShortForms(TypedDict, total=False):
    """The settings that are set most, by the short names that they have as flags."""

    model: str | Path
    """model.path: a folder, a GGUF file, ORG/NAME of the hub, or an embedded world."""
    corpus: str | Path
    """corpus.path: a folder, a table, or an embedded world."""
    bench: str | Path
    """eval.problems: NAME or NAME:FILE of a benchmark, a file of problems, or an embedded world."""
    samples: str | Path
    """eval.samples_file: samples to grade in the place of a model's."""
    seed: int
    """run.seed."""
    device: str
    """run.device: auto, cpu, cuda or cuda:N."""
    name: str
    """run.name: the run folder's."""
    out: str | Path
    """run.out: the folder that holds the run folders."""
    rollouts: str
    """run.rollouts: native, vllm or vllm-ahead."""


def load(model: str | Path, /, *recipes: Recipe, **short: Unpack[ShortForms]) -> Policy:
    """Loads a model, named as for `--model`, and its tokenizer.

    Of the policy, `model` and `tokenizer` are those of `transformers`. `hidden(ids, positions)` maps token ids [B, T]
    to hidden states [B, T, width], `logits` these to logits in nats [B, T, vocabulary]; `save(folder)` writes a
    standard Hugging Face folder.
    """
    settings = config.load(*given(recipes, {**short, "model": model}))
    from ra3.commands.inputs import load_policy

    return load_policy(settings.run, settings.model)


def midtrain(
    *recipes: Recipe, resume: bool = False, fork: Path | None = None, **short: Unpack[ShortForms]
) -> InspectedRun:
    """Mid-trains a model on a corpus, as `ra3 midtrain` does; the finished run.

    With `resume` a run that was stopped goes on, and of one that is finished nothing is trained again; `fork` is a run
    folder whose work a new run begins with.
    """
    return finished_run(do("midtrain", recipes, short, resume=resume, fork=fork))


def rlvr(*recipes: Recipe, resume: bool = False, fork: Path | None = None, **short: Unpack[ShortForms]) -> InspectedRun:
    """Trains a model by reinforcement with unit tests as reward, as `ra3 rlvr` does; the finished run."""
    return finished_run(do("rlvr", recipes, short, resume=resume, fork=fork))


def evaluate(*recipes: Recipe, resume: bool = False, **short: Unpack[ShortForms]) -> InspectedRun:
    """Runs a model's programs, or those of a file (`samples`), against tests, as `ra3 eval` does; the finished run,
    whose `results.scores` are pass@k with intervals, in [0, 1]."""
    return finished_run(do("eval", recipes, short, resume=resume))


def annotate(
    *recipes: Recipe, to: str | Path = "annotated", check: bool = False, resume: bool = False,
    **short: Unpack[ShortForms],
) -> Path:  # fmt: skip
    """Writes a model's latents into a corpus, as `ra3 annotate` does; the folder `to`, with a file for each document.

    With `check` each file is compiled, too.
    """
    return do("annotate", recipes, short, resume=resume, out=config.path_of(to), check=check)


def do(command: str, recipes: Sequence[Recipe], settings: Mapping[str, Any], read: Any = None, **options: Any) -> Path:
    """Runs a command to its end; the folder that it made. `settings`, by dotted key or short name, win over `recipes`;
    `read` is the tree of both, if it was read before; `options` are fields of `RunOptions` (ra3/commands/run.py)."""
    files, overrides = given(recipes, settings)
    from ra3.commands.run import COMMANDS, RunOptions

    if command == "demo":
        from ra3.compare.demo import run
    else:
        run = COMMANDS[command]
    return run(read or config.load(files, overrides), RunOptions(command, tuple(files), **options))


def given(recipes: Sequence[Recipe], settings: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Files, and settings by dotted key: ``given(["a.toml", {"run.seed": 1}], {"model": Path("m")})`` is
    ``(["a.toml"], {"run.seed": 1, "model.path": "m"})``."""
    files = [str(recipe) for recipe in recipes if not isinstance(recipe, Mapping)]
    maps = [recipe for recipe in recipes if isinstance(recipe, Mapping)]
    named = {config.dotted_key(key): value for own in (*maps, settings) for key, value in own.items()}
    return files, {key: str(value) if isinstance(value, Path) else value for key, value in named.items()}
