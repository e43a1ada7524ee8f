"""What a user may get wrong about a base model, and what is said about it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tiny_models import FREE, LABELLED, LABELS, ONE_SET, SENTIMENT, TEXTS, loaded
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    GPT2ForSequenceClassification,
    T5ForConditionalGeneration,
)

from clients.data.dataset import Dataset, Example, LabelSet
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


@pytest.mark.parametrize(
    ("config", "architecture"),
    [
        ("BertConfig", "BertModel"),
        ("RobertaConfig", None),
        ("WhisperConfig", "WhisperForConditionalGeneration"),
        ("Wav2Vec2Config", "Wav2Vec2Model"),
    ],
)
def test_kinds_that_are_not_supported_are_named(tmp_path: Path, config: str, architecture: str | None) -> None:
    made = getattr(transformers, config)(architectures=[architecture] if architecture else None)
    made.save_pretrained(tmp_path)
    name = architecture or f"{made.model_type} model"
    with pytest.raises(
        InputError, match=rf"is a {name} \({made.model_type}\), which is not supported; supported are causal"
    ):
        loaded(tmp_path, FREE)


def test_a_tokenizer_may_have_more_tokens_than_the_model_rows(folder_of_kind: Folder, tmp_path: Path) -> None:
    """As CodeLlama and Gemma 3 have; a text or label that has one of them is named."""
    shutil.copytree(folder_of_kind("gpt2"), tmp_path / "more")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "more")
    before = loaded(folder_of_kind("gpt2"), LABELLED)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    tokenizer.save_pretrained(tmp_path / "more")
    assert len(tokenizer) == before.rows + 1
    for head in ("own", "fresh", "labels"):
        model = loaded(tmp_path / "more", LABELLED, head=head)
        assert [e.ids for e in model.encode(TEXTS)] == [
            e.ids for e in loaded(folder_of_kind("gpt2"), LABELLED, head=head).encode(TEXTS)
        ]
        with pytest.raises(InputError, match=r"token '<image>' has number 300, and the model only 300 .* 'a <image>"):
            model.encode([Example("a <image>", "good")])
    model = loaded(tmp_path / "more", LABELLED)
    with pytest.raises(InputError, match=r"token '<image>' has number 300"):
        model.values([Example("a <image>", "good")])
    for head in ("own", "labels"):
        with pytest.raises(InputError, match=r"token '<image>' has number 300, .* it is in '<image>'"):
            loaded(tmp_path / "more", labelled("good", "<image>"), head=head)


def labelled(*labels: str) -> Dataset:
    return Dataset(LABELLED.shards, (), {"": LabelSet(labels, labels)})


def words_only(folder: Path) -> Path:
    """A tokenizer that knows some words and letters, and gives one unknown token for each other word."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<unk>", "<end>", "a", "e", "1", "的", "good", "bad", "very"]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.WhitespaceSplit()
    for path in folder.glob("tokenizer*"):
        path.unlink()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<end>").save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["gpt2", "llama", "t5"])
@pytest.mark.parametrize(
    ("labels", "head", "pair"),
    [
        (("good", "中文", "日本語"), "own", "'中文' and '日本語'"),
        (("Good", "bad", "good"), "own", "'Good' and 'good'"),
        (("very good", "bad", "good very"), "labels", "'very good' and 'good very'"),
        (("good good", "bad", "good"), "labels", "'good good' and 'good'"),
        (("good", "中文", "日本語"), "labels", "'中文' and '日本語'"),
    ],
)
def test_labels_that_cannot_be_told_apart_are_named(
    copied: Callable[..., Path], kind: str, labels: tuple[str, ...], head: str, pair: str
) -> None:
    folder = words_only(copied(kind))
    with pytest.raises(InputError, match=rf"data: the labels {pair} cannot be told apart: "):
        loaded(folder, labelled(*labels), head=head)
    loaded(folder, labelled(*labels), head="fresh")  # reads no label
    loaded(folder, labelled("very good", "good bad", "bad"), head=head)
    if head == "own":
        loaded(folder, labelled("very good", "good very"))  # written one after the other, they are not the same


def test_a_label_without_tokens_has_no_row(folder_of_kind: Folder) -> None:
    with pytest.raises(InputError, match=r"model\.head: labels needs labels with tokens, .* none for ''"):
        loaded(folder_of_kind("gpt2"), labelled("good", ""), head="labels")


def test_class_prompts_that_cannot_be_told_apart_are_named(folder_of_kind: Folder) -> None:
    """The text encoder reads 32 tokens; sets are told apart on their own."""
    long = "a photo, taken on a rainy day somewhere in the north of the country, of a "
    same = LabelSet(("cat", "dog"), (long + "cat.", long + "dog."))
    with pytest.raises(
        InputError, match=r"the labels 'a photo.*of a cat\.' and 'a photo.*of a dog\.' cannot be told apart: .*32"
    ):
        loaded(folder_of_kind("clip"), Dataset(ONE_SET.shards, (), {"animals": same}))
    one, other = (LabelSet((label,), ("a photo of a cat.",)) for label in ("cat", "kitten"))
    loaded(folder_of_kind("clip"), Dataset(ONE_SET.shards, (), {"animals": one, "pets": other}))


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
