"""What lies in model folders: tokenizers named wrongly, code of their own, adapters, pointers."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from conftest import make_model_folder
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM

from ra3.errors import UserError
from ra3.model.load import PAGE, ModelFolder
from ra3.model.policy import Policy

CPU = torch.device("cpu")
CUTS = r"\p{N}{1,3}|[\p{L} ]+|[^\p{L}\p{N} ]+"
"""Digits in threes, words with the spaces between them: as none of GPT-2's or Qwen's does."""
TEXT = "def area(width):\n    total = 20250 + width * 1234\n    return total != 650841823 and 'it\\'s'\n"


def load(folder: Path) -> Policy:
    return Policy.load(folder, "pretrained", torch.float32, CPU, 0)


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as told:
        load(folder)
    return str(told.value)


def change(path: Path, **values) -> None:
    """Sets keys of a JSON file, which may be new."""
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**content, **values}))


@pytest.fixture
def folder(policy, tmp_path) -> Path:
    """A saved model."""
    policy.save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory) -> Path:
    """A tokenizer.json of byte-level BPE with cuts of its own."""
    own = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(CUTS), "isolated")
    own.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    own.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    own.train_from_iterator([PAGE, TEXT] * 3, trainer)
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    own.save(str(path))
    return path


CLASSES = {
    ("qwen2", "PreTrainedTokenizerFast"): True, ("qwen2", "TokenizersBackend"): True, ("qwen2", "Qwen2Tokenizer"): True,
    ("gpt2", None): True, ("opt", None): True, ("phi", "CodeGenTokenizer"): True,
    ("llama", "PreTrainedTokenizerFast"): False, ("qwen3", "PreTrainedTokenizerFast"): False,
}  # fmt: skip
"""What a folder calls its model and tokenizer, and whether the library takes another tokenizer for it."""


@pytest.mark.parametrize("named", CLASSES, ids=str)
def test_the_tokenizer_is_that_of_its_file(tmp_path, byte_level, named):
    architecture, its_class = named
    make_model_folder(tmp_path, architecture, vocab_size=400, n_embd=32, n_layer=2, n_head=2)
    for file in tmp_path.glob("tokenizer*"):
        file.unlink()
    shutil.copy(byte_level, tmp_path)
    named_class = {"tokenizer_class": its_class} if its_class else {}
    change(tmp_path / "tokenizer_config.json", eos_token="<|endoftext|>", **named_class)
    source = ModelFolder(tmp_path)
    tokenizer, own = source.tokenizer(), Tokenizer.from_file(str(byte_level))
    assert tokenizer(TEXT).input_ids == own.encode(TEXT).ids
    assert tokenizer.eos_token == "<|endoftext|>"
    assert bool(source.notes) == CLASSES[named]

    tokenizer.save_pretrained(tmp_path / "again")
    assert Tokenizer.from_file(str(tmp_path / "again" / "tokenizer.json")).encode(TEXT).ids == own.encode(TEXT).ids
    (tmp_path / "config.json").rename(tmp_path / "again" / "config.json")
    assert ModelFolder(tmp_path / "again").tokenizer()(TEXT).input_ids == own.encode(TEXT).ids


def test_a_tokenizer_is_saved_as_it_came(folder, tmp_path):
    load(folder).save(tmp_path / "again")
    assert (tmp_path / "again" / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()


def test_nobodys_code_is_run_and_no_question_asked(folder, monkeypatch, capfd):
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\ny\ny\n"))
    code = {"AutoConfig": "configuration_x.XConfig", "AutoModelForCausalLM": "modeling_x.XModel"}
    change(folder / "config.json", auto_map=code)
    load(folder)  # llama is the library's own
    change(folder / "config.json", model_type="xmodel")
    assert "needs code of its own (configuration_x.XConfig)" in refused(folder)
    assert (sys.stdin.read(), capfd.readouterr()) == ("y\ny\ny\n", ("", ""))


def test_a_tokenizer_with_code_of_its_own_is_that_of_its_file(folder):
    change(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["tokenization_x.X", None]})
    assert "the folder's own code" in load(folder).notes[0]


@pytest.mark.parametrize("also_gone", [(), ("tokenizer.json",), ("tokenizer_config.json",)])
def test_a_folder_without_a_model_is_not_taken_for_one(folder, also_gone):
    for name in ("config.json", *also_gone):
        (folder / name).unlink()
    message = refused(folder)
    assert "there is no config.json in this folder" in message and "model.weights=random" not in message


POINTED_AT = ("model.safetensors", "tokenizer.json", "config.json", "tokenizer_config.json", "generation_config.json")


@pytest.mark.parametrize("name", POINTED_AT)
def test_pointers_are_called_by_name(folder, name):
    (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n")
    message = refused(folder)
    assert name in message and "git-lfs pointer" in message and "git lfs pull" in message


def test_weights_may_lie_in_many_files_and_in_bfloat16(folder, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    model.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    for file in folder.glob("tokenizer*"):
        shutil.copy(file, tmp_path / "shards")
    ours = load(tmp_path / "shards").model.state_dict()
    assert all(torch.equal(ours[name], tensor.float()) for name, tensor in model.state_dict().items())
    assert {tensor.dtype for tensor in ours.values()} == {torch.float32}
    next((tmp_path / "shards").glob("*-00002-of-*.safetensors")).unlink()
    assert "model-00002-of-" in refused(tmp_path / "shards")


@pytest.mark.parametrize("method", ["gptq", "awq", "bitsandbytes", "fp8"])
def test_quantised_weights_are_refused(folder, method):
    change(folder / "config.json", quantization_config={"quant_method": method, "bits": 4})
    assert f"the weights are quantised ({method})" in refused(folder)


@pytest.fixture
def adapter(folder, tmp_path) -> Path:
    """A folder with an adapter of that model, and nothing else."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(folder)
    config = LoraConfig(r=4, lora_alpha=64, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    adapted = get_peft_model(model, config)
    adapted.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def head_row(model, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0, -1]


@pytest.mark.parametrize("place", ["alone", "in the model's folder"])
def test_adapters_are_merged(folder, adapter, tmp_path, place):
    alone = AutoModelForCausalLM.from_pretrained(folder)
    base = head_row(alone, [1, 2, 3])
    expected = head_row(PeftModel.from_pretrained(alone, str(adapter)), [1, 2, 3])
    if place != "alone":
        shutil.copytree(adapter, folder, dirs_exist_ok=True)
    policy = load(adapter if place == "alone" else folder)
    ours = head_row(policy.model, [1, 2, 3])
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)
    assert (ours - base).abs().max() > 0.01
    assert "its weights were added" in policy.notes[0]
    policy.save(tmp_path / "merged")
    torch.testing.assert_close(head_row(load(tmp_path / "merged").model, [1, 2, 3]), ours)


@pytest.mark.parametrize("place", ["alone", "in the model's folder"])
def test_without_peft_adapters_are_refused(folder, adapter, monkeypatch, place):
    if place != "alone":
        shutil.copytree(adapter, folder, dirs_exist_ok=True)
    monkeypatch.setitem(sys.modules, "peft", None)
    message = refused(adapter if place == "alone" else folder)
    assert "adapter" in message and "ra3[lora]" in message


def test_an_adapter_whose_base_is_not_here_is_refused(adapter):
    change(adapter / "adapter_config.json", base_model_name_or_path="/no/such/model")
    assert "an adapter of /no/such/model: there is no such model folder" in refused(adapter)


@pytest.mark.parametrize(
    "what, found", [({"target_modules": ["q_proj"]}, "no place for"), ({"target_modules": ["k_proj"]}, "missing")]
)
def test_an_adapter_that_does_not_fit_is_refused(adapter, what, found):
    change(adapter / "adapter_config.json", **what)
    assert found in refused(adapter)


def test_other_kinds_of_adapters_are_refused(adapter):
    change(adapter / "adapter_config.json", peft_type="IA3", feedforward_modules=[])
    assert "of the kind" in refused(adapter)
