"""``unmerge export``: a served model as a folder that ``from_pretrained`` opens, with a model card.

A model that was tuned whole is written whole. One that was tuned by adapters is written as a peft adapter: its base model is
named as the scenario names it, and one that was made here is written beside it, in ``base/``. Weights are safetensors.
"""

import hashlib
import logging
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

from clients.errors import InputError
from clients.models.library import Library
from clients.settings import EMBEDDED_BASES, ModelSpec
from sim.export.card import card
from sim.export.serving import Serving

BASE = "base"
RECIPE = "recipe.json"
"""In the folder of an embedded base model; what it says is in the card."""


def export(serving: Serving, target: Path, one_client: bool) -> list[str]:
    """Write the folder whole; the names of its files.

    Args:
        one_client: whether it is one client's model, and not what anybody is served.

    Raises:
        InputError: the folder exists already, or cannot be made. Nothing is left then.
    """
    new(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".export-", dir=target.parent))
    except OSError as error:
        raise InputError(f"{target}: cannot be made ({error.strerror}); choose another folder") from error
    try:
        partial.chmod(0o755)
        _write(serving, partial, target)
        (partial / "README.md").write_text(card(serving, one_client, _bits(partial)), encoding="utf-8")
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return sorted(path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file())


def new(target: Path) -> None:
    """Raise InputError where something is already."""
    if target.exists():
        raise InputError(f"{target}: exists already; nothing there was touched. Choose another folder")


def _write(serving: Serving, folder: Path, target: Path) -> None:
    library, spec = serving.library, serving.model
    for part in library.parts:
        part.save_pretrained(folder)
    if spec.lora is None:
        library.module.save_pretrained(folder)
        return
    base = spec.base
    if base in EMBEDDED_BASES:
        base = str(target.resolve() / BASE)
        shutil.copytree(serving.where, folder / BASE, ignore=shutil.ignore_patterns(RECIPE))
    save_adapter(library, spec, base, folder)


def save_adapter(library: Library, spec: ModelSpec, base: str, folder: Path) -> None:
    """Write the adapters of a module, and the heads that it has instead of its base model's, as peft reads them.

    Args:
        base: what the adapter calls its base model.
    """
    from peft import LoraConfig
    from safetensors.torch import save_file

    assert spec.lora is not None
    weights, targets = dict[str, Any](), dict[str, None]()
    for name, parameter in library.module.named_parameters():
        owner, found, kind = name.partition(".lora_")
        if found:
            targets[owner] = None
            weights[f"base_model.model.{owner}.lora_{kind.replace('.default', '')}"] = parameter
        elif name.startswith(tuple(f"{head}." for head in library.heads)):
            weights[f"base_model.model.{name}"] = parameter
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("peft").setLevel(logging.ERROR)
        config = LoraConfig(
            r=spec.lora.rank,
            lora_alpha=spec.lora.alpha,
            lora_dropout=0.0,
            target_modules=sorted(targets),
            modules_to_save=list(library.heads) or None,
            base_model_name_or_path=base,
            task_type=library.task,
            inference_mode=True,
        )
        config.save_pretrained(str(folder))
    save_file(
        {name: value.detach().contiguous().cpu() for name, value in weights.items()}, folder / "adapter_model.safetensors"
    )


def _bits(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of weights, by its name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.safetensors"))}
