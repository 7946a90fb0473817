"""Latents: writing and removing them is exact, and the tokens of a document are the truth about its text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from ra3.data.documents import BadRow, Document, Truth
from ra3.data.latents import EncodedDocument, LatentSyntax, annotate_text, encode, encode_all, remove
from ra3.data.steps import Step, split
from ra3.errors import UserError

ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())
MERGES = [("#", "#"), ("Ċ", "Ċ"), ("Ġ", "Ġ"), ("Ġ", "x"), (")", "Ċ"), ("Ã", "©")]


def make_tokenizer(merges=MERGES, normalizer=None, prefix_space=False, special=("<|end|>",), ordinary=("<tool>",)):
    """A byte-level tokenizer as GPT-2's, with a handful of merges."""
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


def ids_of(tokenizer, *tokens):
    return tokenizer.convert_tokens_to_ids(list(tokens))


STEPS = st.lists(st.builds(Step, st.text(max_size=12), st.booleans()), max_size=12)
LINE = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=("Cs",)), max_size=12)


@given(STEPS, st.data())
def test_removal_is_the_exact_inverse(steps, data):
    comments = [data.draw(st.none() | LINE.map("#{}\n".format)) if step.may_think else None for step in steps]
    annotated, spans = annotate_text(steps, comments)
    assert remove(annotated, spans) == "".join(step.text for step in steps)
    assert [annotated[start:end] for start, end in spans] == [c for c in comments if c is not None]


@given(st.text(), LINE)
def test_removal_from_documents_is_exact(text, words):
    steps = split(Document("d", text))
    annotated, spans = annotate_text(steps, [f"# {words}\n" if step.may_think else None for step in steps])
    assert remove(annotated, spans) == text


def test_annotated_text_and_spans():
    steps = [Step("a\r\n", True), Step("b", True), Step("", True)]
    assert annotate_text(steps, ["# x\n", None, "#\n"]) == ("# x\na\r\nb#\n", [(0, 4), (8, 10)])
    assert annotate_text([], []) == ("", [])


@pytest.mark.parametrize("comment", ["", "x\n", "# x", "# x\n\n", "# x\ry\n", "#\r\n", "# \0\n"])
def test_a_comment_must_be_one_comment_line(comment):
    with pytest.raises(ValueError, match="comment line"):
        annotate_text([Step("a", True)], [comment])


def test_a_comment_needs_a_step_that_may_think():
    with pytest.raises(ValueError, match="'a'"):
        annotate_text([Step("a", False)], ["# x\n"])
    with pytest.raises(ValueError, match="shorter|longer"):
        annotate_text([Step("a", True)], [])


def test_syntax_of_a_byte_level_tokenizer(tokenizer, syntax):
    assert [syntax.think_id, syntax.newline_id] == ids_of(tokenizer, "#", "Ċ")
    allowed = set(syntax.comment_ids)
    assert list(syntax.comment_ids) == sorted(allowed)
    assert allowed >= set(ids_of(tokenizer, "a", "#", "##", "ĠĠ", "Ġx", "Ã©", "Ċ", "<tool>"))
    assert not allowed & set(ids_of(tokenizer, "ĊĊ", ")Ċ", "Ã", "©", "ĉ", "č", "Ā", "<|end|>"))


def test_every_comment_is_one_printable_line(tokenizer, syntax):
    for token in syntax.comment_ids:
        text = tokenizer.decode([token])
        assert text == "\n" if token == syntax.newline_id else text.isprintable() and "\ufffd" not in text


def test_the_syntax_is_a_value(tokenizer, syntax):
    assert syntax == LatentSyntax.from_tokenizer(tokenizer) and hash(syntax)
    with pytest.raises(AttributeError):
        syntax.think_id = 1


def test_an_expert_step_that_opens_like_a_latent_may_have_none_before_it(tokenizer, syntax):
    assert not syntax.expert_may_follow(tokenizer.encode("#x"))
    assert syntax.expert_may_follow(tokenizer.encode("##"))
    assert syntax.expert_may_follow(tokenizer.encode(" #"))
    assert not syntax.expert_may_follow([])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prefix_space": True}, r"'#' as 2 tokens \['Ġ', '#'\]"),
        ({"normalizer": normalizers.Replace("#", "//")}, r"'#' as 2 tokens .* read back as '//'"),
        ({"normalizer": normalizers.Strip()}, r"'\\n' as 0 tokens \[\]"),
    ],
)
def test_a_tokenizer_that_cannot_write_comments_says_so(changes, message):
    with pytest.raises(UserError, match=message):
        LatentSyntax.from_tokenizer(make_tokenizer(**changes))


def test_another_opener(tokenizer):
    """A special token opens; nothing else changes, and in text the latent is a comment."""
    syntax = LatentSyntax.from_tokenizer(tokenizer, "<|end|>")
    assert syntax.think_id == tokenizer.eos_token_id
    assert syntax.comment_ids == LatentSyntax.from_tokenizer(tokenizer).comment_ids
    assert syntax.latent_ids(tokenizer, ["# x\n"]) == [[syntax.think_id, *tokenizer.encode(" x\n")]]
    assert syntax.comment(tokenizer, syntax.latent_ids(tokenizer, ["# x\n"])[0]) == "# x\n"


@given(text=st.text(st.characters(exclude_categories=("Cs",)), min_size=1))
def test_steps_read_back_exactly(tokenizer, syntax, text):
    encoded = encode(tokenizer, Document("d", text), syntax)
    assert isinstance(encoded, EncodedDocument)
    assert [tokenizer.decode(ids) for ids in encoded.step_ids] == [s.text for s in split(encoded.document)]


def test_a_step_is_tokenised_alone():
    tokenizer = make_tokenizer(merges=[*MERGES, ("Ċ", "y")])
    assert tokenizer.encode("x)\ny\n") == ids_of(tokenizer, "x", ")Ċ", "y", "Ċ")
    assert tokenizer.encode("x\ny\n") == ids_of(tokenizer, "x", "Ċy", "Ċ")
    encoded = encode(tokenizer, Document("d", "x)\ny\nx\ny\n"), LatentSyntax.from_tokenizer(tokenizer))
    assert isinstance(encoded, EncodedDocument)
    lines = [("x", ")Ċ"), ("y", "Ċ"), ("x", "Ċ"), ("y", "Ċ")]
    assert [list(ids) for ids in encoded.step_ids] == [ids_of(tokenizer, *line) for line in lines]


def test_the_name_of_a_special_token_is_text(tokenizer, syntax):
    encoded = encode(tokenizer, Document("d", "<|end|>\n"), syntax)
    assert isinstance(encoded, EncodedDocument)
    assert tokenizer.eos_token_id not in encoded.step_ids[0]
    assert tokenizer.decode(encoded.step_ids[0]) == "<|end|>\n"


def test_a_lossy_tokenizer_is_reported():
    lossy = make_tokenizer(normalizer=normalizers.NFC())
    bad = encode(lossy, Document("d", "a\ne\u0301\n"), LatentSyntax.from_tokenizer(lossy))
    assert isinstance(bad, BadRow) and bad.where == "d"
    assert bad.reason == r"the tokenizer is lossy for this text: 'e\u0301\n' reads back as '\xe9\n'"


def test_encode(tokenizer, syntax):
    document = Document("d", "a\n\n#b\nc", context="x\ny\n")
    encoded = encode(tokenizer, document, syntax)
    assert encoded == EncodedDocument(
        document=document,
        context_ids=tuple(tokenizer.encode("x\ny\n")),
        step_ids=tuple(tuple(tokenizer.encode(step)) for step in ("a\n\n", "#b\n", "c")),
        may_think=(True, False, True),
    )
    assert not encoded.cut


def test_the_cut_is_at_a_step_and_counts_the_context(tokenizer, syntax):
    truth = Truth((0, 1, 2), (("a", "p"), ("q",), ("r",)), ("# a p\n", "# q\n", "# r\n"))
    document = Document("d", "aa\nbb\ncc\n", context="x\n", truth=truth)
    whole, part = (encode(tokenizer, document, syntax, max_tokens=limit) for limit in (11, 10))
    assert isinstance(whole, EncodedDocument) and isinstance(part, EncodedDocument)
    assert whole.document is document and not whole.cut
    assert part.cut and len(part.step_ids) == len(part.may_think) == 2
    assert part.document == Document("d", "aa\nbb\n", "x\n", Truth((0, 1), (("a", "p"), ("q",)), ("# a p\n", "# q\n")))


def test_only_the_part_that_is_kept_must_survive_the_tokenizer():
    lossy = make_tokenizer(normalizer=normalizers.NFC())
    kept = encode(lossy, Document("d", "aa\ne\u0301\n"), LatentSyntax.from_tokenizer(lossy), max_tokens=4)
    assert isinstance(kept, EncodedDocument) and kept.document.text == "aa\n"


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (Document("d", "a" * 20 + "\nb\n"), "first step takes 21 tokens, with a context of 0"),
        (Document("d", "a" * 8 + "\nb\n", "xx\n"), "first step takes 9 tokens, with a context of 3"),
        (Document("d", "a\n", "x" * 20), "context alone takes 20 tokens"),
        (Document("d", ""), "no steps"),
    ],
)
def test_what_does_not_fit_is_quarantined(tokenizer, syntax, document, reason):
    bad = encode(tokenizer, document, syntax, max_tokens=10)
    assert isinstance(bad, BadRow) and bad.where == "d" and reason in bad.reason


def test_encode_all_keeps_the_order(tokenizer, syntax):
    documents = [Document("a", "1\n"), Document("b", "2" * 9), Document("c", "3\n")]
    encoded, bad = encode_all(tokenizer, documents, syntax, max_tokens=8)
    assert [e.document.id for e in encoded] == ["a", "c"]
    assert [row.where for row in bad] == ["b"]
