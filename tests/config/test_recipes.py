"""Recipes and flags: layers, shipped recipes, and every mistake told with its place and its remedy."""

import json
import math
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ra3.config.help import settings
from ra3.config.load import find_recipe, load, nearest, read_recipe, shipped_recipes
from ra3.config.settings import Config
from ra3.errors import UserError
from ra3.run.folder import Run


def refused(files=(), **overrides) -> str:
    with pytest.raises(UserError) as caught:
        load(files, {key.replace("__", "."): value for key, value in overrides.items()})
    return str(caught.value)


@pytest.fixture
def recipe(tmp_path):
    def write(text: str, name: str = "recipe.toml") -> Path:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


# Reading


def test_files_are_layered_left_to_right_and_flags_win(recipe):
    first = recipe("[run]\nseed = 1\n[midtrain.estep]\nupdates = 1\nhorizon = 2\n", "first.toml")
    second = recipe("[midtrain.estep]\nupdates = 2\n", "second.toml")
    config = load([first, second], {"run.seed": "3"})
    assert (config.run.seed, config.midtrain.estep.updates, config.midtrain.estep.horizon) == (3, 2, 2)
    assert load([second, first]).midtrain.estep.updates == 1


def test_text_is_read_as_the_type_of_its_setting():
    estep = load(overrides={"midtrain.estep.switch_penalty": "inf", "midtrain.estep.updates": "none"}).midtrain.estep
    assert math.isinf(estep.switch_penalty) and estep.updates is None
    assert load(overrides={"midtrain.estep.exact_prior": "0.9, 64"}).midtrain.estep.exact_prior == (0.9, 64)
    assert load(overrides={"rlvr.clip": "[0.1, 0.3]"}).rlvr.clip == (0.1, 0.3)
    assert load(overrides={"eval.k": "1, 2,4"}).eval.k == (1, 2, 4)
    assert load(overrides={"rlvr.learning_rate": "1e-5"}).rlvr.learning_rate == 1e-5
    assert load(overrides={"run.name": "3"}).run.name == "3"


def test_toml_may_hold_inf(recipe):
    assert math.isinf(load([recipe("midtrain.estep.switch_penalty = inf")]).midtrain.estep.switch_penalty)


def test_config_json_is_standard_stable_and_read_back(tmp_path):
    exact = {"midtrain.estep.exact_prior": (0.9, 64), "update.max_grad_norm": "inf"}
    config = load(overrides=exact)
    Run.create(tmp_path, "a", config.model_dump(mode="json"), "midtrain").close()
    Run.create(tmp_path, "b", load(overrides=exact).model_dump(mode="json"), "midtrain").close()
    text = (tmp_path / "a" / "config.json").read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no standard JSON"))
    assert (tmp_path / "b" / "config.json").read_text() == text
    (tmp_path / "config.json").write_text(text)
    assert load([tmp_path / "config.json"]) == config


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_recipe_loads_and_names_only_what_it_changes(name):
    path = find_recipe(name)
    assert path == find_recipe(f"{name}.toml")
    load([name])
    first, second, *_ = path.read_text().splitlines()
    assert first.startswith("# ") and second.startswith("# Run it with `")
    assert path.read_text().startswith("# ") and tomllib.loads(path.read_text())
    same = [key for key, item in read_recipe(path).items() if item.value == settings()[key].default]
    assert not same, "these are the defaults"


def test_the_recipes_are_there():
    assert {"demo", "tiny-cpu", "stdlib", "smollm2", "qwen-0.5b"} <= set(shipped_recipes())


# Mistakes


def test_an_unknown_key_names_the_file_and_the_nearest_key(recipe):
    path = recipe("[midtrain.estep]\nupdtes = 3\n")
    assert refused([path]) == (
        f"{path}:2: unknown setting midtrain.estep.updtes\n  fix: did you mean midtrain.estep.updates?"
    )


def test_a_bad_value_names_what_is_allowed_and_what_came():
    assert refused(midtrain__estep__updates="-1") == (
        'the command line: midtrain.estep.updates cannot be "-1"\n  allowed: whole number >= 0, or none'
    )


def test_a_bad_choice_names_the_nearest():
    message = refused(midtrain__estep__advantage="leave-one-out")
    assert "allowed: leave_one_out | group_mean" in message and "did you mean leave_one_out?" in message


def test_every_mistake_is_listed_at_once(recipe):
    path = recipe("[run]\nsede = 1\n[corpus]\nheldout = 2\n[eval]\nk = [1, 50]\n")
    message = refused([path], run__seed="x", resme="")
    assert message.startswith("4 settings are wrong\n  1. ")
    for part in (
        f"{path}:2: unknown setting run.sede\n     fix: did you mean run.seed?",
        "unknown flag --resme\n     fix: did you mean --resume?",
        f"{path}:4: corpus.heldout cannot be 2\n     allowed: number >= 0 and < 1",
        'run.seed cannot be "x"',
    ):
        assert part in message


@pytest.mark.parametrize(
    "key, value, part",
    [
        ("learning_rate", 1, "--midtrain.estep.learning_rate or --midtrain.mstep.learning_rate or --rlvr.learning"),
        ("estep.horizon", 1, "did you mean --midtrain.estep.horizon?"),
        ("qqqq", 1, "`ra3 midtrain --help` lists every setting"),
        ("midtrain", 1, "it holds midtrain.method, midtrain.em_rounds, midtrain.estep, midtrain.mstep"),
        ("midtrain.estep.switch_penalty", "nan", "allowed: number >= 0, or inf"),
        ("midtrain.estep.gamma", "inf", "allowed: number >= 0 and <= 1"),
        ("midtrain.estep.horizon", 0, "allowed: whole number >= 1"),
        ("midtrain.estep.horizon", True, "cannot be true"),
        ("run.name", "a/b", "letters, digits"),
        ("run.name", "..", "letters, digits"),
        ("run.device", "gpu", "allowed: auto | cpu | cuda"),
        ("eval.k", "", "whole numbers"),
        ("eval.k", "1,0", "whole numbers"),
        ("model.path", "", "allowed: text"),
    ],
)
def test_mistakes_and_their_remedies(key, value, part):
    assert part in refused(**{key: value})


@pytest.mark.parametrize(
    "content, part",
    [(b"[run\nseed = 1", "not valid TOML"), (b"\xff\xfe", "not valid TOML"), (b"[run]\nseed = 1\nseed = 2", "TOML")],
)
def test_a_broken_file_is_told_in_words(tmp_path, content, part):
    (tmp_path / "broken.toml").write_bytes(content)
    message = refused([tmp_path / "broken.toml"])
    assert part in message and str(tmp_path / "broken.toml") in message


def test_a_missing_recipe_names_the_nearest(recipe, tmp_path):
    path = recipe("", "mine.toml")
    assert f"did you mean {path}?" in refused([tmp_path / "mime.toml"])
    assert "did you mean tiny-cpu?" in refused(["tiny-gpu"])
    assert "is a folder" in refused([tmp_path])


def test_nearest_forgives_case_dashes_and_missing_sections():
    names = list(settings())
    assert nearest("Midtrain.Estep.Group-Size", names) == "midtrain.estep.group_size"
    assert nearest("group_size", names) == "midtrain.estep.group_size"
    assert nearest("grup_size", names) == "midtrain.estep.group_size"
    assert nearest("zzzzzz", names) is None


@given(st.dictionaries(st.sampled_from([*settings(), "run", "x.y", "--", ""]), st.text() | st.integers() | st.floats()))
def test_anything_gives_a_config_or_a_user_error(overrides):
    try:
        assert isinstance(load(overrides=overrides), Config)
    except UserError as error:
        assert str(error)
