"""What a user may get wrong about a base model, and what is said about it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import FREE, LABELLED, LABELS, ONE_SET, SENTIMENT, TEXTS, loaded
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    GPT2ForSequenceClassification,
    T5ForConditionalGeneration,
)

from clients.data.dataset import Dataset
from clients.errors import InputError
from clients.models import pretrained as opening
from clients.settings import ModelSpec

Folder = Callable[[str], Path]


@pytest.fixture
def copied(folder_of_kind: Folder, tmp_path: Path) -> Callable[..., Path]:
    """Copies a folder with some keys of its config.json changed (None: removed)."""

    def copy(kind: str, **values: Any) -> Path:
        folder = tmp_path / kind
        shutil.copytree(folder_of_kind(kind), folder)
        for path in folder.glob("*config.json"):
            old = json.loads(path.read_text())
            new = old | {key: value for key, value in values.items() if key in old}
            path.write_text(json.dumps({key: value for key, value in new.items() if value is not None}))
        return folder

    return copy


def test_kinds_are_told_by_their_configuration(folder_of_kind: Folder) -> None:
    kinds = {"gpt2": "causal", "llama": "causal", "t5": "encoder-decoder", "clip": "clip"}
    kinds |= {"vit": "classifier", "resnet": "classifier"}
    for name, kind in kinds.items():
        assert opening.kind_of(str(folder_of_kind(name)), ModelSpec()) == kind


def test_an_encoder_decoder_without_a_start_token(copied: Callable[..., Path]) -> None:
    folder = copied("t5", decoder_start_token_id=None)
    with pytest.raises(InputError, match=r"t5 names no decoder_start_token_id in its config\.json"):
        loaded(folder, FREE)


def test_an_encoder_decoder_without_a_pad_token(copied: Callable[..., Path], folder_of_kind: Folder) -> None:
    """None is needed: a mask says what is padding."""
    folder = copied("t5", pad_token_id=None)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)
    bare, padded = loaded(folder, LABELLED), loaded(folder_of_kind("t5"), LABELLED)
    assert bare.tokenizer.pad_token_id is None
    assert bare.label_losses(TEXTS, LABELS).tobytes() == padded.label_losses(TEXTS, LABELS).tobytes()
    assert bare.loss(bare.encode(TEXTS)).item() == padded.loss(padded.encode(TEXTS)).item()


def test_models_that_write_no_text(folder_of_kind: Folder, tmp_path: Path) -> None:
    shutil.copytree(folder_of_kind("gpt2"), tmp_path / "classes")
    GPT2ForSequenceClassification.from_pretrained(folder_of_kind("gpt2")).save_pretrained(tmp_path / "classes")
    tower = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8, "vocab_size": 300}
    BertForMaskedLM(BertConfig(**tower)).save_pretrained(tmp_path / "masked")
    for name, kind in (("classes", "GPT2ForSequenceClassification"), ("masked", "BertForMaskedLM")):
        with pytest.raises(InputError, match=rf"{name} is a {kind}, which writes no text; take a causal or encoder-decoder"):
            loaded(tmp_path / name, FREE)


def test_weights_that_are_missing(copied: Callable[..., Path]) -> None:
    folder = copied("clip")
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"cannot open .*clip as a CLIP model with safetensors weights"):
        loaded(folder, ONE_SET)
    folder = copied("t5")
    module = T5ForConditionalGeneration.from_pretrained(folder)
    tensors = module.state_dict()
    del tensors["decoder.final_layer_norm.weight"]
    module.save_pretrained(folder, state_dict=tensors)
    with pytest.raises(InputError, match=r"t5 has no weights for 1 tensors, as decoder\.final_layer_norm\.weight"):
        loaded(folder, FREE)


def test_a_classifiers_missing_head_matters_unless_it_is_replaced(copied: Callable[..., Path]) -> None:
    folder = copied("vit")
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    save_file({n: t for n, t in tensors.items() if "classifier" not in n}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"vit has no weights for 2 tensors, as classifier\.bias"):
        loaded(folder, ONE_SET)
    torch.manual_seed(1)
    one = loaded(folder, ONE_SET, head="fresh").digest
    torch.manual_seed(2)
    assert loaded(folder, ONE_SET, head="fresh").digest == one


def test_a_tokenizer_that_is_missing(copied: Callable[..., Path]) -> None:
    for kind, dataset in (("gpt2", FREE), ("llama", FREE), ("t5", FREE), ("clip", ONE_SET)):
        folder = copied(kind)
        for path in folder.glob("tokenizer*"):
            path.unlink()
        with pytest.raises(InputError, match=rf"model\.base: cannot open .*{kind} as a tokenizer: "):
            loaded(folder, dataset)


def test_positions_of_a_model(folder_of_kind: Folder) -> None:
    with pytest.raises(InputError, match=r"model\.max_length: .* takes 128 tokens, not 129"):
        loaded(folder_of_kind("gpt2"), Dataset(LABELLED.shards, (), SENTIMENT), max_length=129)
    assert loaded(folder_of_kind("t5"), FREE, max_length=5000).encode(TEXTS)[0].tokens > 10  # has no such limit


def test_a_device_that_is_not_there(folder_of_kind: Folder) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    from clients.models import loaders as models

    with pytest.raises(InputError, match=r"workers\.gpus: PyTorch finds no GPU here; set workers\.gpus: 0"):
        models.load(ModelSpec(base=str(folder_of_kind("gpt2"))), FREE.manifest, "cuda")
