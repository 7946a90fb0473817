"""The configuration: every setting documented and bounded, every contradiction answered with a remedy."""

import re
import sysconfig
from pathlib import Path

import pytest
from pydantic import ValidationError

from ra3.commands.inputs import read_corpus
from ra3.config.help import manual, sections, settings, show
from ra3.config.load import load
from ra3.config.settings import Config, EstepSettings, flatten, nest
from ra3.errors import UserError

MOST_SETTINGS = 85


def test_there_are_few_settings_and_each_is_documented():
    assert 60 < len(settings()) <= MOST_SETTINGS
    assert f"at most {MOST_SETTINGS} settings" in (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()
    assert list(settings()) == list(Config().flat())
    for setting in settings().values():
        assert setting.help.endswith((".", ")")), setting.key
        assert setting.allowed, setting.key
    assert all(sections().values())


@pytest.mark.parametrize("setting", settings().values(), ids=settings())
def test_every_default_is_within_its_own_bounds(setting):
    assert load(overrides={setting.key: show(setting.default)}).flat()[setting.key] == setting.default


def test_the_tree_is_frozen_and_closed():
    with pytest.raises(ValidationError):
        Config().run.seed = 1  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ValidationError):
        EstepSettings(updtes=3)  # pyright: ignore[reportCallIssue]


def test_choices_are_those_of_the_engine():
    from ra3.data.steps import KINDS
    from ra3.em.methods import METHODS
    from ra3.rl.advantages import ESTIMATORS

    assert set(settings()["midtrain.method"].choices) == set(METHODS)
    assert set(settings()["midtrain.estep.advantage"].choices) == set(ESTIMATORS)
    assert set(settings()["rlvr.advantage"].choices) == set(ESTIMATORS)
    assert set(settings()["corpus.steps"].choices) <= set(KINDS)


def test_flatten_and_nest_are_inverse():
    tree = {"a": {"b": 1, "c": {"d": None}}, "e": 2}
    assert dict(flatten(tree)) == {"a.b": 1, "a.c.d": None, "e": 2}
    assert nest(dict(flatten(tree))) == tree


def test_stdlib_is_an_alias_of_the_standard_library():
    (document,) = read_corpus(load(overrides={"corpus.path": "stdlib", "corpus.documents": "1"})).documents
    assert (Path(sysconfig.get_paths()["stdlib"]) / document.id).read_bytes() == document.text.encode()


def test_the_manual_lists_every_setting_once():
    text = manual(("run", "midtrain"), width=80)
    for key in settings():
        assert text.count(f"  --{key} ") == 1
    assert text.index("--midtrain.method") < text.index("Settings of other commands") < text.index("--corpus.path")


@pytest.mark.parametrize(
    "overrides, remedy",
    [
        (
            {"midtrain.estep.exact_prior": (0.9, 9), "midtrain.estep.switch_penalty": 0.1},
            "leave out switch_penalty or exact_prior",
        ),
        *(
            (
                {"midtrain.estep.exact_prior": (0.9, 9), key: "iwae"},
                "leave out exact_prior, or choose another advantage and method than iwae",
            )
            for key in ("midtrain.estep.advantage", "midtrain.method")
        ),
        (
            {"midtrain.estep.exact_prior": (0.9, 9), "midtrain.estep.penalty_growth": 2.0},
            "leave out penalty_growth or exact_prior",
        ),
        (
            {"midtrain.estep.switch_penalty": "inf", "midtrain.estep.think_floor": (0.3, 1)},
            "leave out think_floor, or set a finite switch_penalty",
        ),
        ({"midtrain.estep.group_size": 1}, 'set group_size to 2 or more, or midtrain.estep.advantage = "none"'),
        ({"rlvr.samples": 1, "rlvr.advantage": "group_std"}, 'set samples to 2 or more, or rlvr.advantage = "none"'),
        (
            {"midtrain.method": "bootstrap", "midtrain.estep.group_size": 1, "midtrain.estep.advantage": "none"},
            "set group_size to 2 or more, or another method",
        ),
        ({"update.micro_batch_tokens": 512}, "set micro_batch_tokens to 1024 or more, or corpus.max_tokens to 512"),
        ({"eval.samples": 5}, "set eval.samples to 10 or more, or take 10 out of eval.k"),
    ],
)
def test_contradictions_and_their_remedies(overrides, remedy):
    with pytest.raises(UserError, match=re.escape(remedy)):
        load(overrides=overrides)
    with pytest.raises(ValidationError):
        Config.model_validate(nest({key: float(v) if v == "inf" else v for key, v in overrides.items()}))


def test_one_rollout_is_fine_without_a_baseline():
    assert load(overrides={"midtrain.estep.group_size": 1, "midtrain.estep.advantage": "none"})
