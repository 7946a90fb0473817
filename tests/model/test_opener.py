"""A special token as the opener of intentions: made once, known to its folder, taken out of programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from conftest import make_model_folder, make_policy
from hypothesis import given
from hypothesis import strategies as st
from transformers import AddedToken

from ra3.config.settings import Config
from ra3.data.latents import encode_all
from ra3.data.tokens import decode
from ra3.em.methods.distilled import with_true_latents
from ra3.em.methods.rlpt import without_comments
from ra3.em.round import EMRound
from ra3.errors import UserError
from ra3.grading.grade import grade
from ra3.grading.problems import Problem
from ra3.model.load import LATENT_TOKEN_KEY, ModelFolder, add_latent_token, resolve_latent_token
from ra3.model.policy import Policy
from ra3.rollout.interleave import LatentRules, interleave
from ra3.rollout.programs import completion_of_text, completions
from ra3.rows import FULL, RowBuilder, build
from ra3.worlds import WORLDS
from ra3.worlds.functions import OPERATIONS, body
from ra3.worlds.functions import world as functions

PLAN = "<|plan|>"
BASE = WORLDS["functions"].model
CPU = torch.device("cpu")


def programs(policy, rows, stop):
    return [completion.program for completion in completions(policy, rows, stop)]


def load(folder: Path, opener: str | None = PLAN, weights: str = "pretrained") -> Policy:
    return Policy.load(folder, weights, torch.float32, CPU, 0, opener)


@pytest.fixture(scope="module")
def planner() -> Policy:
    """The shipped base with a token of its own for intentions, and one that holds more than a line's end."""
    policy = load(BASE)
    policy.tokenizer.add_tokens([AddedToken("\n  ", normalized=False)])
    return policy


def true_rows(policy: Policy, documents):
    """The documents with their true latents."""
    own = Config()
    em = EMRound(cast(Any, None), policy, documents, own.midtrain, own.update, 0)
    return with_true_latents(em, range(len(documents))).rows


def rows_of(policy: Policy, *completions: list[int], prompt: str = "def f(x):\n"):
    """Completions as the sampler returns them."""
    builders = []
    for ids in completions:
        row = RowBuilder.start(0, [*policy.start_ids, *ids_of(policy, prompt)])
        for token in ids:
            row.append(token, 0, FULL, 0.0, 0.0)
        builders.append(row)
    return build(builders)


def ids_of(policy: Policy, text: str) -> list[int]:
    """The ids of a text alone."""
    return policy.tokenizer(text, add_special_tokens=False)["input_ids"]


# the token


def test_a_new_token_is_to_the_model_what_the_comment_is(planner):
    old, new = ModelFolder(BASE).model("pretrained", 0).state_dict(), planner.model.state_dict()
    comment, opener = planner.tokenizer.convert_tokens_to_ids(["Ġ#", PLAN])
    assert planner.syntax.think_ids == (opener,) and planner.syntax.opener == PLAN
    assert opener == len(old["lm_head.weight"])
    for name, weights in new.items():
        kept = weights[:-1] if "embed" in name or "head" in name else weights
        assert torch.equal(kept, old[name]), name
    assert torch.equal(new["lm_head.weight"][opener], old["lm_head.weight"][comment])
    assert new["lm_head.weight"].data_ptr() == new["model.embed_tokens.weight"].data_ptr()


def test_a_padded_vocabulary_keeps_its_size_and_a_head_of_its_own_gets_its_row(tmp_path):
    make_policy(tmp_path, tie_word_embeddings=False, vocab_size=448).save(tmp_path)
    tokenizer, model = ModelFolder(tmp_path).tokenizer(), ModelFolder(tmp_path).model("pretrained", 0)
    add_latent_token(tokenizer, model, PLAN)
    comment, opener = tokenizer.convert_tokens_to_ids(["Ġ#", PLAN])
    for matrix in (model.get_input_embeddings(), model.get_output_embeddings()):
        assert matrix.weight.shape[0] == 448 > opener
        assert torch.equal(matrix.weight[opener], matrix.weight[comment])


def test_random_weights_with_a_token_are_the_same_every_time(tmp_path):
    make_model_folder(tmp_path)
    torch.manual_seed(1)
    one = load(tmp_path, weights="random").model.state_dict()
    torch.manual_seed(2)
    two = load(tmp_path, weights="random").model.state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_folder_knows_its_opener(tmp_path, planner):
    load(BASE).save(tmp_path)
    again = load(tmp_path, opener=None)
    assert again.syntax == load(BASE).syntax and load(tmp_path).syntax.opener == PLAN
    assert load(BASE, opener=None).syntax.opener == load(BASE, opener="#").syntax.opener == "#"
    with pytest.raises(UserError, match="open with '<|plan|>'"):
        load(tmp_path, opener="#")


def test_a_token_that_is_there_keeps_its_row(tmp_path):
    tokenizer, model = ModelFolder(BASE).tokenizer(), ModelFolder(BASE).model("pretrained", 0)
    add_latent_token(tokenizer, model, PLAN)
    model.get_input_embeddings().weight.data[-1] = 0.5
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    policy = load(tmp_path)
    assert bool((policy.model.get_input_embeddings().weight[-1] == 0.5).all())
    assert getattr(policy.model.config, LATENT_TOKEN_KEY) == PLAN


@pytest.mark.parametrize(
    ("opener", "message"), [("<|endoftext|>", "begins, ends"), ("[tool]", "may stand in any text")]
)
def test_a_token_with_another_use_is_refused(opener, message):
    tokenizer, model = ModelFolder(BASE).tokenizer(), ModelFolder(BASE).model("pretrained", 0)
    tokenizer.add_tokens(["[tool]"])
    with pytest.raises(UserError, match=message):
        resolve_latent_token(tokenizer, model, opener, BASE)


def test_a_tokenizer_without_the_token_of_its_model_is_refused():
    model = ModelFolder(BASE).model("pretrained", 0)
    model.config.latent_opener = PLAN
    with pytest.raises(UserError, match="no token"):
        resolve_latent_token(ModelFolder(BASE).tokenizer(), model, None, BASE)


# programs are freed of latents

CODE = st.lists(st.sampled_from(["x", "#", " ba", "\n", "(x):\n", "    ", "\n  "]), max_size=12)
WORDS = st.lists(st.sampled_from([" ba", "x", "#", PLAN]), max_size=3)


@given(st.lists(st.tuples(CODE, WORDS, st.sampled_from(["\n", "(x):\n", "\n  "])), min_size=1, max_size=4))
def test_a_program_without_its_latents_is_what_it_was(planner, parts):
    """A latent before each part, in front of a line's text, gives way to the line behind it."""

    def tokens(texts):
        return [i for text in texts for i in ids_of(planner, text)]

    program, plain, reply = [], "", ""
    for code, words, end in parts:
        if not plain.rpartition("\n")[2].strip():
            program += [*planner.syntax.think_ids, *tokens([*words, end])]
            reply += "#" + "".join([*words, end])
            plain = plain.rstrip(" ") + end.partition("\n")[2]
        program += tokens(code)
        plain, reply = plain + "".join(code), reply + "".join(code)
    rows = rows_of(planner, program)
    assert completions(planner, rows, ()) == [(plain, reply)]


def test_an_opener_inside_a_line_is_no_latent(planner):
    (think,), ids = planner.syntax.think_ids, ids_of(planner, "x = 1")
    assert programs(planner, rows_of(planner, [*ids, think, *ids]), ()) == [f"x = 1{PLAN}x = 1"]
    assert programs(planner, rows_of(planner, [think, *ids], prompt="def f(x): "), ()) == [f"{PLAN}x = 1"]
    assert programs(planner, rows_of(planner, [think, *ids]), ()) == [""]
    assert programs(planner, rows_of(planner, [], [think]), ()) == ["", ""]


def test_the_comments_of_a_model_that_opens_with_them_stay(planner):
    base = load(BASE, opener=None)
    rows = rows_of(base, ids_of(base, "# ba\n    return x\n"))
    assert completions(base, rows, ()) == [("# ba\n    return x\n",) * 2]


def paid(policy: Policy, sandbox, problem: Problem, lines: list[str], latents: bool) -> str:
    """The verdict on lines of code, with a latent before each or without."""
    latent = [*policy.syntax.think_ids, *ids_of(policy, " ba ke\n")]
    ids = [i for line in lines for i in [*(latent if latents else []), *ids_of(policy, line)]]
    texts = programs(policy, rows_of(policy, ids, prompt=problem.prompt), problem.stop)
    return grade(sandbox, [(problem, texts[0])])[0].reason


def test_a_program_pays_with_its_latents_as_without(planner, one_server):
    problem = functions.problems("eval", 0, 1, "edge")[0]
    for operation in [problem.meta["op"], *(o.name for o in OPERATIONS if o.name != problem.meta["op"])][:4]:
        lines = list(body(operation))
        reasons = {paid(planner, one_server, problem, lines, latents) for latents in (True, False)}
        assert reasons == {"passed"} if operation == problem.meta["op"] else reasons and "passed" not in reasons
    lines = ["    x = \\\n", "    x\n", *body(problem.meta["op"])]  # where no comment could stand
    assert (
        paid(planner, one_server, problem, lines, True) == paid(planner, one_server, problem, lines, False) == "passed"
    )


def test_text_from_elsewhere_is_freed_by_name():
    assert completion_of_text(f"{PLAN} a\nx\n{PLAN}", PLAN) == ("x\n", "# a\nx\n#")
    assert completion_of_text(f"x{PLAN}\n# a\n", PLAN) == (f"x{PLAN}\n# a\n",) * 2
    assert completion_of_text("# a\nx\n", "#") == ("# a\nx\n",) * 2


def test_what_rlpt_judges_has_no_latents():
    assert without_comments(PLAN + " go\nx\ny", 1, PLAN) == ("x\n", len(PLAN) + 6)


# in text every latent is a comment


def test_true_intentions_are_written_with_the_token():
    planner = load(BASE)
    encoded, _ = encode_all(planner.syntax, functions.documents("expert", 0, 4))
    base = load(BASE, opener=None)
    with_token = true_rows(planner, encoded)
    with_comments = true_rows(base, encode_all(base.syntax, functions.documents("expert", 0, 4))[0])
    (think,) = planner.syntax.think_ids
    opens = with_comments.latent & torch.isin(with_comments.ids, base.spaces.think_ids)
    assert torch.equal(with_token.ids, with_comments.ids.masked_fill(opens, think)) and bool(opens.any())


def test_removing_the_latents_of_a_rollout_gives_the_expert_ids_back():
    planner = load(BASE)
    encoded, _ = encode_all(planner.syntax, functions.documents("expert", 0, 2))
    rows = interleave(planner, encoded, 2, LatentRules(6, think_floor=0.5), [1, 2, 3, 4])
    assert bool(rows.latent.any()) and planner.syntax.think_ids[0] in rows.ids
    for r in range(4):
        document = encoded[r // 2]
        text = decode(planner.tokenizer, rows.ids[r][rows.expert[r]].tolist())
        assert text == document.document.text + planner.tokenizer.eos_token
        sampled = [i for i in rows.tokens(r)[1 + len(document.context_ids) :] if i != planner.end_id]
        freed = programs(planner, rows_of(planner, sampled, prompt=document.document.context), ())
        assert freed == [document.document.text]
