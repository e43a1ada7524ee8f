"""Opens pretrained models, tokenizers and image processors by hub id or folder, with errors that say what is wrong."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from clients.data.dataset import LabelSet
from clients.errors import InputError
from clients.models import chat, text, vision
from clients.settings import ModelSpec

Kind = Literal["causal", "encoder-decoder", "clip", "classifier"]

SAID = {
    "causal": "a causal language model",
    "encoder-decoder": "an encoder-decoder language model",
    "clip": "a CLIP model",
    "classifier": "an image classifier",
}

WRITE_NOTHING = ("ForMaskedLM", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")


def located(source: str) -> str:
    """The folder of a source if there is one, else the source as a hub id; InputError if it can only be a folder."""
    path = Path(source).expanduser()
    if source.startswith((".", "/", "~")) and not path.is_dir():
        raise InputError(f"model.base: there is no folder {source}")
    return str(path) if path.is_dir() else source


def kind_of(where: str, spec: ModelSpec) -> Kind:
    """Which kind of model lies there, by its configuration."""
    import transformers

    config = _attempt(
        where, "a model", lambda: transformers.AutoConfig.from_pretrained(where, trust_remote_code=spec.trust_remote_code)
    )
    names = getattr(config, "architectures", None) or [""]
    if names[0].endswith(WRITE_NOTHING):
        raise InputError(
            f"model.base: {where} is a {names[0]}, which writes no text; take a causal or encoder-decoder language model"
        )
    if (sees := vision.kind_of(where, config, spec.head == "fresh")) is not None:
        return sees
    kind: Kind = "encoder-decoder" if getattr(config, "is_encoder_decoder", False) else "causal"
    _check_supported(where, config, kind, spec)
    return kind


def _check_supported(where: str, config: Any, kind: Kind, spec: ModelSpec) -> None:
    """Whether a configuration that is no picture model's is a language model's."""
    from transformers.models.auto import modeling_auto as auto

    mapping, opener = {
        "causal": (auto.MODEL_FOR_CAUSAL_LM_MAPPING, "AutoModelForCausalLM"),
        "encoder-decoder": (auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING, "AutoModelForSeq2SeqLM"),
    }[kind]
    own = spec.trust_remote_code and opener in (getattr(config, "auto_map", None) or {})
    both_ways = type(config) in auto.MODEL_FOR_MASKED_LM_MAPPING and not (
        config.is_encoder_decoder or getattr(config, "is_decoder", False) or getattr(config, "causal", False)
    )  # a token sees those after it
    if own or (type(config) in mapping and not both_ways):
        return
    name = (getattr(config, "architectures", None) or [f"{config.model_type} model"])[0]
    raise InputError(
        f"model.base: {where} is a {name} ({config.model_type}), which is not supported; supported are causal and "
        "encoder-decoder language models, CLIP, and image classifiers"
    )


def open_module(where: str, kind: Kind, spec: ModelSpec) -> Any:
    """The module in float32.

    Raises:
        InputError: it cannot be opened, has no safetensors weights, or lacks weights of some tensors.
    """
    import transformers

    transformers.utils.logging.disable_progress_bar()
    classes = {
        "causal": transformers.AutoModelForCausalLM,
        "encoder-decoder": transformers.AutoModelForSeq2SeqLM,
        "clip": transformers.CLIPModel,
        "classifier": transformers.AutoModelForImageClassification,
    }
    options: dict[str, Any] = {} if kind == "clip" else {"trust_remote_code": spec.trust_remote_code}
    module, loading = _attempt(
        where,
        f"{SAID[kind]} with safetensors weights",
        lambda: classes[kind].from_pretrained(
            where, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **options
        ),
    )
    replaced = (
        vision.heads_of(module) if kind == "classifier" and spec.head == "fresh" else []
    )  # their weights may be missing
    heads = tuple(f"{name}." for name, part in module.named_modules() if part in replaced)
    missing = [name for name in sorted(loading["missing_keys"]) if not name.startswith(heads)]
    if missing:  # the library fills them at random
        raise InputError(f"model.base: {where} has no weights for {len(missing)} tensors, as {missing[0]}")
    if spec.gradient_checkpointing:
        _attempt(
            where,
            "a model with gradient checkpointing",
            lambda: module.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False}),
        )
    return module


def open_tokenizer(where: str, spec: ModelSpec) -> Any:
    """The tokenizer of a model.

    Raises:
        InputError: it cannot be opened, or the files that hold its words are missing.
    """
    import transformers

    options = {"trust_remote_code": spec.trust_remote_code}
    found = _attempt(where, "a tokenizer", lambda: transformers.AutoTokenizer.from_pretrained(where, **options))
    read = [found(letter, add_special_tokens=False).input_ids for letter in "ae1的"]
    if all(not ids or found.unk_token_id in ids for ids in read):  # where files are missing the library makes an empty one
        raise InputError(f"model.base: cannot open {where} as a tokenizer: it knows no letters; its files may be missing")
    return found


def open_processor(where: str, spec: ModelSpec) -> Any:
    """The image processor of a model, the one that works with PIL."""
    import transformers

    options: dict[str, Any] = {"trust_remote_code": spec.trust_remote_code, "backend": "pil"}
    return _attempt(where, "an image processor", lambda: transformers.AutoImageProcessor.from_pretrained(where, **options))


def check_text(module: Any, tokenizer: Any, spec: ModelSpec, label_sets: Mapping[str, LabelSet]) -> None:
    """Whether tokenizer, model, labels and scenario fit.

    Raises:
        InputError: they do not.
    """
    if tokenizer.eos_token_id is None:
        raise InputError(f"model.base: the tokenizer of {spec.base} has no end-of-sequence token, which ends an answer")
    if module.config.is_encoder_decoder and getattr(module.config, "decoder_start_token_id", None) is None:
        raise InputError(
            f"model.base: {spec.base} names no decoder_start_token_id in its config.json, the token that its decoder "
            "starts with; with T5 it is the pad token's id"
        )
    if spec.chat and not tokenizer.chat_template:
        raise InputError(f"model.chat: the tokenizer of {spec.base} has no chat template; set model.chat: false")
    if spec.chat:
        chat.check(tokenizer, spec.chat_date, spec.base)
    positions = getattr(module.config, "max_position_embeddings", None)
    if positions is not None and spec.max_length > positions:
        raise InputError(f"model.max_length: {spec.base} takes {positions} tokens, not {spec.max_length}")
    if spec.head == "own":
        for found in label_sets.values():
            _check_labels(module, tokenizer, spec, found.labels)


def _check_labels(module: Any, tokenizer: Any, spec: ModelSpec, labels: Sequence[str]) -> None:
    """Whether labels fit beside a prompt, are known and can be told apart, as they are written after a blank or without."""
    rows = module.get_input_embeddings().num_embeddings
    for before in [None] if module.config.is_encoder_decoder else ["", " "]:
        answers = [text.encode_answer(tokenizer, label, before) for label in labels]
        longest = max(range(len(labels)), key=lambda number: len(answers[number]))
        if len(answers[longest]) >= spec.max_length:
            raise InputError(
                f"model.max_length: {spec.max_length} tokens leave no room for a prompt beside the label "
                f"{labels[longest]!r}, which takes {len(answers[longest])}"
            )
        for label, ids in zip(labels, answers, strict=True):
            text.check_known(tokenizer, ids, rows, label)
        text.check_apart(labels, [tuple(ids) for ids in answers], f"the tokenizer of {spec.base} gives both the same tokens")


def _attempt(where: str, what: str, opening: Callable[[], Any]) -> Any:
    try:
        return opening()
    except Exception as error:  # the library raises a dozen kinds, with the network's on top
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise InputError(f"model.base: cannot open {where} as {what}: {reason}") from error
