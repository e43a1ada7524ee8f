"""Labels ranked in a batch against each prompt and label alone, one plain pass each, for many kinds of attention."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tiny_models import FREE
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from clients.data.dataset import Example
from clients.models import loaders as models
from clients.models.language import LanguageModel, reads_on
from clients.settings import ModelSpec

IDS = {"vocab_size": 300, "bos_token_id": 0, "eos_token_id": 0}
WIDE = {"hidden_size": 16, "initializer_range": 0.3}
TOWER = WIDE | {"intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
LLAMA = TOWER | {"num_key_value_heads": 1, "max_position_embeddings": 256}
GEMMA = LLAMA | {"head_dim": 8, "query_pre_attn_scalar": 8}
PROMPTS = [Example("ab", ""), Example(" ".join(["so it goes, what a day"] * 8)[:160], ""), Example("the cat sat", "")]
LABELS = ("good", "rather bad, all in all", "so-so")

READ_ON: dict[str, tuple[str, dict[str, Any]]] = {
    "GPT-NeoX": ("GPTNeoXConfig", LLAMA),
    "Qwen2": ("Qwen2Config", LLAMA),
    "Mistral": ("MistralConfig", LLAMA | {"sliding_window": None}),
    "Gemma": ("GemmaConfig", LLAMA | {"head_dim": 8}),
    "Falcon with ALiBi": ("FalconConfig", TOWER | {"alibi": True}),
}
READ_WHOLE: dict[str, tuple[str, dict[str, Any]]] = {
    "Mistral with a window": ("MistralConfig", LLAMA | {"sliding_window": 8}),
    "Qwen2 with a window": (
        "Qwen2Config",
        LLAMA | {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
    ),
    "Phi-3 with a window": ("Phi3Config", LLAMA | {"sliding_window": 8, "pad_token_id": 0}),
    "Gemma 2": ("Gemma2Config", GEMMA | {"sliding_window": 8}),
    "Gemma 3": ("Gemma3TextConfig", GEMMA | {"sliding_window": 8}),
    "GPT-Neo": (
        "GPTNeoConfig",
        {
            "hidden_size": 16,
            "num_layers": 2,
            "num_heads": 2,
            "window_size": 8,
            "attention_types": [[["global", "local"], 1]],
            "initializer_range": 0.3,
            "max_position_embeddings": 256,
        },
    ),
    "BLOOM": ("BloomConfig", WIDE | {"n_layer": 2, "n_head": 2}),
    "MPT": ("MptConfig", {"d_model": 16, "n_layers": 2, "n_heads": 2, "max_seq_len": 256, "initializer_range": 0.3}),
    "Mamba": ("MambaConfig", {"hidden_size": 16, "state_size": 4, "num_hidden_layers": 2, "initializer_range": 0.3}),
    "RecurrentGemma": (
        "RecurrentGemmaConfig",
        TOWER
        | {"num_hidden_layers": 3, "num_key_value_heads": 1, "head_dim": 8, "lru_width": 16, "attention_window_size": 8},
    ),
}
SEQ2SEQ = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "init_std": 0.3, "decoder_start_token_id": 7}
HEADS = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
ENCODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "BART": ("BartConfig", SEQ2SEQ | HEADS),
    "LED": ("LEDConfig", SEQ2SEQ | HEADS | {"attention_window": 8}),
}


def made(config: tuple[str, dict[str, Any]], folder_of_kind: Callable[[str], Path], opener: Any) -> Any:
    torch.manual_seed(1)
    tokenizer = AutoTokenizer.from_pretrained(folder_of_kind("gpt2"))
    module = opener.from_config(getattr(transformers, config[0])(**(IDS | config[1])))
    return module.eval(), tokenizer


@torch.no_grad()
def alone(module: Any, prompt: list[int], answer: list[int]) -> float:
    if module.config.is_encoder_decoder:
        mask = torch.ones(1, len(prompt), dtype=torch.long)
        decoder = torch.tensor([[module.config.decoder_start_token_id, *answer[:-1]]])
        logits = module(input_ids=torch.tensor([prompt]), attention_mask=mask, decoder_input_ids=decoder).logits[0]
    else:
        logits = module(torch.tensor([prompt + answer]), use_cache=False).logits[0, len(prompt) - 1 : -1]
    logs = logits.double().log_softmax(-1)
    return -sum(float(logs[at, token]) for at, token in enumerate(answer))


def expected(module: Any, tokenizer: Any) -> np.ndarray:
    prompts = [tokenizer.encode(e.prompt, add_special_tokens=False) for e in PROMPTS]
    answers = [[*tokenizer.encode(label, add_special_tokens=False), tokenizer.eos_token_id] for label in LABELS]
    return np.array([[alone(module, prompt, answer) for answer in answers] for prompt in prompts])


@pytest.mark.parametrize("name", [*READ_ON, *READ_WHOLE, *ENCODERS])
def test_labels_do_not_depend_on_who_is_in_the_batch(
    folder_of_kind: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    config = (READ_ON | READ_WHOLE | ENCODERS)[name]
    module, tokenizer = made(config, folder_of_kind, AutoModelForSeq2SeqLM if name in ENCODERS else AutoModelForCausalLM)
    assert reads_on(module) == (name not in READ_WHOLE)
    rows = expected(module, tokenizer)
    for part in (module, tokenizer):
        part.save_pretrained(tmp_path)
    model: Any = models.load(ModelSpec(base=str(tmp_path), max_length=200), FREE.manifest, "cpu")
    np.testing.assert_allclose(model.label_losses(PROMPTS, LABELS), rows, atol=1e-5, rtol=1e-5)
    one_by_one = np.concatenate([model.label_losses([prompt], LABELS) for prompt in PROMPTS])
    np.testing.assert_allclose(one_by_one, rows, atol=1e-5, rtol=1e-5)
    assert np.ptp(rows, axis=0).min() > 0.01  # prompts matter


def test_a_window_would_have_been_seen(folder_of_kind: Callable[[str], Path]) -> None:
    """Read on after padding, a model with a window gives something else: what ``reads_on`` is for."""
    module, tokenizer = made(READ_WHOLE["Mistral with a window"], folder_of_kind, AutoModelForCausalLM)
    model = LanguageModel(module, tokenizer, ModelSpec(max_length=200), "cpu", {})
    rows = model.label_losses(PROMPTS, LABELS)
    model.reads_on = True
    assert np.abs(model.label_losses(PROMPTS, LABELS) - rows).max() > 0.1


def test_prompts_that_end_in_a_blank_now_and_then(folder_of_kind: Callable[[str], Path]) -> None:
    """Each is ranked as alone, whatever the others have."""
    model: Any = models.load(ModelSpec(base=str(folder_of_kind("gpt2")), max_length=96), FREE.manifest, "cpu")
    examples = [Example(f"{prompt}{blank}", "") for prompt in ("ab", "the cat sat") for blank in ("", " ")]
    found = model.label_losses(examples, LABELS)
    for row, example in zip(found, examples, strict=True):
        answers = [(" " if example.prompt.endswith(" ") else "") + label for label in LABELS]
        prompt = model.tokenizer.encode(example.prompt.rstrip(" "))
        ids = [[*model.tokenizer.encode(answer), model.tokenizer.eos_token_id] for answer in answers]
        np.testing.assert_allclose(row, [alone(model.module, prompt, one) for one in ids], rtol=1e-5)
    assert np.abs(found[0] - found[1]).min() > 1e-3


@pytest.mark.parametrize("kind", ["gpt2", "llama", "t5"])
@pytest.mark.parametrize("micro", [1, 2, 5])
def test_scoring_has_no_more_rows_than_a_micro_batch(folder_of_kind: Callable[[str], Path], kind: str, micro: int) -> None:
    spec = ModelSpec(base=str(folder_of_kind(kind)), max_length=96)
    free: Any = models.load(spec, FREE.manifest, "cpu")
    small: Any = models.load(spec, FREE.manifest, "cpu", micro)
    sizes: list[int] = []
    small.module.register_forward_pre_hook(
        lambda _, args, kwargs: sizes.append(len(next(v for v in kwargs.values() if isinstance(v, torch.Tensor)))),
        with_kwargs=True,
    )
    texts = FREE.shards[0].train
    np.testing.assert_allclose(small.label_losses(PROMPTS, LABELS), free.label_losses(PROMPTS, LABELS), rtol=1e-5)
    np.testing.assert_allclose(small.values(texts), free.values(texts), rtol=1e-4)
    np.testing.assert_allclose(small.features(texts), free.features(texts), rtol=1e-4, atol=1e-5)
    assert max(sizes) == micro
    assert free.at_once == 64


def test_features_need_no_logits_of_all_positions(folder_of_kind: Callable[[str], Path]) -> None:
    model: Any = models.load(ModelSpec(base=str(folder_of_kind("llama")), max_length=96), FREE.manifest, "cpu")
    shapes: list[tuple[int, ...]] = []
    model.module.lm_head.register_forward_hook(lambda _, args, out: shapes.append(tuple(out.shape)))
    model.features(FREE.shards[0].train)
    assert [shape[1] for shape in shapes] == [1]


def test_a_model_of_unknown_code_is_read_whole(folder_of_kind: Callable[[str], Path]) -> None:
    known = AutoModelForCausalLM.from_pretrained(folder_of_kind("llama"))
    assert reads_on(known)
    known.__class__ = type("Own", (type(known),), {"__module__": "somebodys_own"})
    assert not reads_on(known)


def test_a_model_that_gives_all_logits(folder_of_kind: Callable[[str], Path]) -> None:
    model: Any = models.load(ModelSpec(base=str(folder_of_kind("gpt2")), max_length=96), FREE.manifest, "cpu")
    texts = FREE.shards[0].train
    expected, ranked = model.values(texts), model.label_losses(texts, LABELS)
    model.takes = set()
    np.testing.assert_allclose(model.values(texts), expected, rtol=1e-5)
    np.testing.assert_allclose(model.label_losses(texts, LABELS), ranked, rtol=1e-5)
