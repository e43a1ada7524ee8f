"""Embedded base models are made once and cached under the user's cache folder by the digest of their recipe."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from clients.data.dataset import Example
from clients.errors import InputError
from clients.exact import digest
from clients.exact.determinism import environment
from clients.exact.files import check_writable, unwritable
from clients.strict import Strict

PRETRAINING_THREADS = 2  # part of the recipe: fixed whatever the machine has
VARIABLE = "UNMERGE_CACHE"
ROOM = 64_000_000
"""Bytes that have to be left before a model is pretrained: the largest of the embedded ones takes 45 MB by default."""


def cache_folder() -> Path:
    """``$UNMERGE_CACHE``, or ``unmerge`` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get(VARIABLE) or Path(base) / "unmerge")


def recipe_digest(spec: Strict, public: tuple[Example, ...], more: object = None) -> str:
    """Digest of everything that decides a base model's bits: sizes, public examples, library versions."""
    examples = [example.facts() for example in public]
    return digest.of_json([spec.model_dump(mode="json"), examples, more, environment("cpu"), PRETRAINING_THREADS])


def cached(name: str, recipe: str) -> Path:
    """Where the base model of this recipe lies, or will lie."""
    return cache_folder() / name / recipe[:24]


def made_once(name: str, recipe: str, public: tuple[Example, ...], make: Callable[[Path], None]) -> Path:
    """Folder of a pretrained model, made now by ``make(folder)`` if it is not in the cache.

    Raises:
        InputError: the public part is empty; or, found before pretraining, the cache cannot be written to or is full.
    """
    folder = cached(name, recipe)
    if (folder / "model.safetensors").exists():
        return folder
    if not public:
        raise InputError(
            f"model.base: {name} is pretrained on a data set's public part, and this one has none; "
            "set data.public_clients, or give model.base a pretrained model"
        )
    from transformers.utils import logging

    logging.disable_progress_bar()
    check_writable(folder.parent, VARIABLE, ROOM)
    partial = Path(tempfile.mkdtemp(prefix=".making-", dir=folder.parent))
    try:
        make(partial)
        try:
            partial.rename(folder)
        except OSError:  # another process made the same model meanwhile
            if not (folder / "model.safetensors").exists():
                raise
    except (OSError, SafetensorError) as error:  # the disk has filled up meanwhile
        raise unwritable(folder.parent, VARIABLE, str(error)) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder
