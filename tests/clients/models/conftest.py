"""One folder per kind of random model."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pytest
from tiny_models import save


@pytest.fixture(scope="session")
def folder_of_kind(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes gpt2, llama, t5, clip, vit or resnet; each once. Who wants to change one copies it."""
    return lru_cache(maxsize=None)(lambda kind: save(kind, tmp_path_factory.mktemp(kind)))
