"""Latents: writing and removing them is exact, and the ids of a document are the tokenizer's own, with latents too."""

import random
import sysconfig
from itertools import chain

import pytest
from code_tokenizers import STYLES, code_tokenizer
from hypothesis import given
from hypothesis import strategies as st
from step_checks import places_of
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from ra3.data.corpus import read
from ra3.data.documents import BadRow, Document, Truth
from ra3.data.latents import LatentSyntax, Opening, annotate_text, encode, encode_all, remove
from ra3.data.steps import Step, split
from ra3.data.tokens import decode, token_texts
from ra3.errors import UserError

ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())
MERGES = [("#", "#"), ("Ċ", "Ċ"), ("Ġ", "Ġ"), ("Ġ", "x"), (")", "Ċ"), ("Ã", "©"), ("Ġ", "#")]


def make_tokenizer(merges=MERGES, normalizer=None, prefix_space=False, special=("<|end|>",), ordinary=("<tool>",)):
    """A byte-level tokenizer without a rule for words, with a handful of merges."""
    vocab = {token: i for i, token in enumerate([*ALPHABET, *("".join(pair) for pair in merges)])}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    if normalizer:
        backend.normalizer = normalizer
    backend.add_special_tokens(list(special))
    backend.add_tokens([AddedToken(token, normalized=False) for token in ordinary])
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=special[0])


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


@pytest.fixture(scope="module")
def syntax(tokenizer):
    return LatentSyntax.from_tokenizer(tokenizer)


@pytest.fixture(scope="module")
def code():
    """Files of this Python's own library, and one with a prompt in front of it."""
    chosen = random.Random(0).sample(read(sysconfig.get_paths()["stdlib"], "*.py").documents, 8)
    return [*chosen, Document("parted", chosen[0].text[1000:], chosen[0].text[:1000])]


def ids_of(tokenizer, *tokens):
    return tokenizer.convert_tokens_to_ids(list(tokens))


def one(found):
    """The only window of a document."""
    assert isinstance(found, list) and len(found) == 1, found
    return found[0]


def ids_in(window, latents=None):
    """The ids of a window, with these before its steps."""
    return [*window.context_ids, *chain(*((*(latents or {}).get(t, ()), *s) for t, s in enumerate(window.step_ids)))]


STEPS = st.lists(st.builds(Step, st.text(max_size=12), st.booleans()), max_size=12)
LINE = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=("Cs",)), max_size=12)


@given(st.text(), LINE, st.data())
def test_removal_is_the_exact_inverse(text, words, data):
    places = data.draw(st.sets(st.integers(0, len(text)), max_size=5))
    annotated, spans = annotate_text(text, dict.fromkeys(places, f"#{words}\n"))
    assert remove(annotated, spans) == text
    assert [annotated[start:end].rstrip(" \t\f") for start, end in spans] == [f"#{words}\n"] * len(places)


@given(st.text(), LINE)
def test_removal_from_documents_is_exact(text, words):
    steps = split(Document("d", text))
    comments = {place: f"# {words}\n" for place, step in zip(places_of(steps), steps, strict=True) if step.may_think}
    annotated, spans = annotate_text(text, comments)
    assert remove(annotated, spans) == text


def test_annotated_text_and_spans():
    text = "a\r\n  \tb"
    assert annotate_text(text, {0: "# x\n", 6: "#\n"}) == ("# x\na\r\n  \t#\n  \tb", [(0, 4), (10, 15)])
    assert annotate_text("", {}) == ("", [])


@pytest.mark.parametrize("comment", ["", "x\n", "# x", "# x\n\n", "# x\ry\n", "#\r\n", "# \0\n"])
def test_a_comment_must_be_one_comment_line(comment):
    with pytest.raises(ValueError, match="comment line"):
        annotate_text("a", {0: comment})


def test_syntax_of_a_byte_level_tokenizer(tokenizer, syntax):
    assert set(syntax.think_ids) == set(ids_of(tokenizer, "#", "Ġ#"))
    words = set(syntax.word_ids)
    assert list(syntax.word_ids) == sorted(words)
    assert words >= set(ids_of(tokenizer, "a", "#", "##", "Ġx", "Ã©", "<tool>"))
    assert not words & set(ids_of(tokenizer, "Ċ", "ĠĠ", "ĊĊ", ")Ċ", "Ã", "©", "ĉ", "č", "Ā", "<|end|>"))
    assert set(syntax.break_ids) == set(ids_of(tokenizer, "Ċ", "ĊĊ", "č"))
    assert syntax.last_word_ids == tuple(ids_of(tokenizer, ")Ċ"))


def test_the_syntax_is_a_value(tokenizer, syntax):
    assert syntax == LatentSyntax.from_tokenizer(tokenizer)
    with pytest.raises(AttributeError):
        syntax.opener = "x"


def test_an_expert_step_that_opens_like_a_latent_may_have_none_before_it(syntax):
    assert not any(one(encode(syntax, Document("d", "#x\n  # y\n##\n", "a\nb\n"))).openings)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"merges": [*MERGES, ("Ċ", "c"), ("Ġ", "b")]}, "joins line breaks or indentation"),
        ({"normalizer": normalizers.Replace("#", "//")}, "no token of its own for '#'"),
        ({"normalizer": normalizers.Strip()}, "joins line breaks or indentation"),
    ],
)
def test_a_tokenizer_that_cannot_write_comments_says_so(changes, message):
    with pytest.raises(UserError, match=message):
        LatentSyntax.from_tokenizer(make_tokenizer(**changes))


def test_another_opener(tokenizer):
    """A special token opens; nothing else changes, and in text the latent is a comment."""
    syntax = LatentSyntax.from_tokenizer(tokenizer, "<|end|>")
    assert syntax.think_ids == (tokenizer.eos_token_id,)
    assert syntax.word_ids == LatentSyntax.from_tokenizer(tokenizer).word_ids
    latent = syntax.latent_ids("# x\n", Opening(0, (7, 8)))
    assert latent == [syntax.think_ids[0], *tokenizer.encode(" x"), 7, 8]
    assert syntax.comment([syntax.think_ids[0], *tokenizer.encode(" x\n  ")]) == "# x\n"


@given(text=st.text(st.characters(exclude_categories=("Cs",)), min_size=2), context=st.sampled_from(["", "a\n", "x "]))
def test_any_text_is_covered_by_windows_of_any_size(tokenizer, syntax, text, context):
    whole = tokenizer.encode(context + text)
    for size in (len(context) + 2, len(context) + 5, 1000):
        windows = encode(syntax, Document("d", text, context), max_tokens=size)
        if isinstance(windows, BadRow):
            assert windows.reason == "it has no steps" and len(whole) <= len(context) + 1
            continue
        front = list(windows[0].context_ids)
        assert [*front, *(i for w in windows for step in w.step_ids for i in step)] == whole
        assert "".join(w.document.text for w in windows) == text
        assert all(len(ids_in(w)) <= size and all(w.step_ids) for w in windows)
        assert [w.cut for w in windows] == [True] * (len(windows) - 1) + [False]


def test_a_boundary_that_the_tokenizer_joins_takes_no_decision():
    tokenizer = make_tokenizer(merges=[*MERGES, ("Ċ", "y")])
    document = Document("d", "x)\ny\nx\n y\n", "a\nb\n")
    window = one(encode(LatentSyntax.from_tokenizer(tokenizer), document))
    # "\n" + "y" is one token; in front of " y" the space is a token of its own, in front of " #" it is not
    assert [bool(opening) for opening in window.openings] == [True, False, True, False]
    assert ids_in(window) == tokenizer.encode(document.context + document.text)


def test_a_special_token_is_itself_everywhere(tokenizer, syntax):
    window = one(encode(syntax, Document("d", "<|end|>\n", "<|end|>")))
    assert window.context_ids == (tokenizer.eos_token_id,) and window.step_ids[0][0] == tokenizer.eos_token_id


def test_a_lossy_tokenizer_is_reported():
    lossy = make_tokenizer(normalizer=normalizers.NFC())
    bad = encode(LatentSyntax.from_tokenizer(lossy), Document("d", "a\ne\u0301\n"))
    assert isinstance(bad, BadRow) and bad.where == "d"
    assert bad.reason == r"the tokenizer is lossy for this text: 'e\u0301\n' reads back as '\xe9\n'"


def test_encode(tokenizer, syntax):
    window = one(encode(syntax, Document("d", "a\n\n x\n#b\nc", context="x\ny\n")))
    assert window.context_ids == tuple(tokenizer.encode("x\ny\n"))
    texts = ["".join(token_texts(tokenizer, ids)) for ids in window.step_ids]
    assert texts == ["a\n\n", " x\n", "#b\n", "c"]
    hash_id, space_hash = ids_of(tokenizer, "#", "Ġ#")
    opens = [opening and (syntax.think_ids[opening.think], opening.close) for opening in window.openings]
    (newline,) = ids_of(tokenizer, "Ċ")
    assert opens == [(hash_id, (newline,)), (space_hash, (newline,)), None, (hash_id, (newline,))]
    assert window.places == (0, 4, 6, 9) and not window.cut and window.offset == 0


def test_windows_know_their_place_and_their_truth(syntax):
    truth = Truth((0, 1, 2), (("a", "p"), ("q",), ("r",)), ("# a p\n", "# q\n", "# r\n"))
    document = Document("d", "aa\nbb\n  cc\n", context="x\n", truth=truth)
    whole = one(encode(syntax, document, max_tokens=13))
    assert whole.document == document
    first, second = encode(syntax, document, max_tokens=10)
    assert first.document == Document("d", "aa\nbb\n", "x\n", Truth((0, 1), (("a", "p"), ("q",)), ("# a p\n", "# q\n")))
    assert second.document == Document("d@6", "  cc\n", "x\n", Truth((0,), (("r",),), ("# r\n",)))
    assert second.offset == 6 and second.places == (2,) and second.context_ids == whole.context_ids


@pytest.mark.parametrize(
    ("document", "reason"),
    [(Document("d", "a\n", "x" * 20), "context alone takes 20 tokens"), (Document("d", ""), "no steps")],
)
def test_what_does_not_fit_is_quarantined(syntax, document, reason):
    bad = encode(syntax, document, max_tokens=10)
    assert isinstance(bad, BadRow) and bad.where == "d" and reason in bad.reason


def test_encode_all_keeps_the_order(syntax):
    documents = [Document("a", "1\n"), Document("b", "2", "x" * 9), Document("c", "3\n4567890\n")]
    windows, bad = encode_all(syntax, documents, max_tokens=8)
    assert [w.id for w in windows] == ["a", "c", "c@2", "c@9"]
    assert [row.where for row in bad] == ["b"]


COMMENTS = ("# go on\n", "# check (again)\n", "# é!\n", "# x = 1 for all\n")


def assert_own_ids(syntax, window, comments, latents):
    """The ids of a document with comments before these steps are those of the annotated text, which turns back."""
    document, tokenizer = window.document, syntax.tokenizer
    text, spans = annotate_text(document.text, {window.places[t]: comment for t, comment in comments.items()})
    assert remove(text, spans) == document.text
    ids = ids_in(window, latents)
    assert [*syntax.start_ids, *ids] == tokenizer(document.context + text)["input_ids"], document.id
    assert decode(tokenizer, ids) == document.context + text


@pytest.mark.parametrize("style", STYLES)
def test_real_code_is_tokenised_as_the_tokenizer_does_it_with_and_without_comments(style, code):
    """Ids equal `tokenizer(text)`, and with comments `tokenizer(annotated text)`, in every style of tokenizer."""
    tokenizer = code_tokenizer(style)
    syntax, rng = LatentSyntax.from_tokenizer(tokenizer), random.Random(0)
    decided = may = 0
    for document in code:
        window = one(encode(syntax, document, max_tokens=10**9))
        assert [*syntax.start_ids, *ids_in(window)] == tokenizer(document.context + document.text)["input_ids"]
        at = {t: rng.choice(COMMENTS) for t, opening in enumerate(window.openings) if opening and rng.random() < 0.4}
        latents = {t: syntax.latent_ids(comment, window.openings[t]) for t, comment in at.items()}
        assert_own_ids(syntax, window, at, latents)
        assert [syntax.comment(ids) for ids in latents.values()] == list(at.values())
        decided += sum(opening is not None for opening in window.openings)
        may += sum(step.may_think for step in split(document))
    print(f"\n{style}: {decided / may:.2%} of {may} boundaries decide")
    assert decided / may > 0.95


@pytest.mark.parametrize("style", ["llama3", "qwen"])
@pytest.mark.parametrize("code", ["x = (\n  6)\n", "f(ab):\n  V\n", "x = [\n 6,\n 7]\n"])
def test_a_comment_takes_no_other_white_space_along_than_the_line_behind_it(style, code):
    """Behind a line break that the tokenizer joins with a bracket, ` #` takes a space that `6` and `V` leave alone."""
    syntax = LatentSyntax.from_tokenizer(code_tokenizer(style))
    window = one(encode(syntax, Document("d", f"a\nb\n{code}")))
    at = {t: "# go on\n" for t, opening in enumerate(window.openings) if opening}
    assert window.joined and at
    assert_own_ids(syntax, window, at, {t: syntax.latent_ids(own, window.openings[t]) for t, own in at.items()})
