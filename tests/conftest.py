"""What all tests share: a tiny site, a cache of their own, and real data where the checkout has it beside it."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
# tests/clients must not be taken for the package clients, whichever way pytest was started
sys.path.insert(0, str(ROOT))
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that wait do not keep a busy machine busier

from clients.settings import Settings  # noqa: E402
from clients.work.site import Site, open_site  # noqa: E402

TOGETHER = {
    **dict.fromkeys(("test_transports.py", "test_workers.py"), "ray"),
    **dict.fromkeys(("test_bits.py", "test_tuning.py", "test_fiction.py", "test_tiny_gpt2.py"), "elsewhere"),
}
"""Files that stay in one process with others: those that start Ray, and those that look at what another process makes."""
LONG = ("test_transports.py", "test_workers.py", "test_packaging.py", "test_data_gone.py", "test_plan.py")
"""Files that take longest come first, so that no process is left alone with one at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """See ``LONG``."""
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With several test processes a file stays in one of them, for its fixtures. Groups by mark have no effect with pytest
    9.2: xdist writes them into an attribute that pytest reads no more."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::", 1)[0]
            return TOGETHER.get(Path(file).name, file)

    return ByFile(config, log)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder for base models made here; in the environment, so that worker processes use it too."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNMERGE_CACHE", str(folder))
        patch.setenv("HF_DATASETS_CACHE", str(folder / "datasets"))
        yield folder


@pytest.fixture(scope="session")
def tiny_settings() -> Settings:
    """Eight clients and a base model of a few thousand parameters: everything takes milliseconds."""
    tiny = {"layers": 1, "width": 16, "heads": 2, "vocabulary": 300, "steps": 3, "batch": 4}
    return Settings.model_validate(
        {
            "data": {"source": "fiction", "clients": 8, "pairs": 3, "public_authors": 8},
            "model": {"tiny": tiny, "max_length": 128},
            "tuning": {"steps": 2},
        }
    )


@pytest.fixture(scope="session")
def site(cache: Path, tiny_settings: Settings) -> Site:
    """Data and base model of ``tiny_settings``; whoever uses the model leaves it at its pretrained values."""
    return open_site(tiny_settings)


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """``../shared`` beside the checkout."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("no ../shared beside the checkout")
    return folder


@pytest.fixture(scope="session")
def tofu_folder(shared_folder: Path) -> Path:
    """The real TOFU data."""
    folder = shared_folder / "data" / "tofu"
    if not folder.is_dir():
        pytest.skip("no TOFU in ../shared/data/tofu")
    return folder


@pytest.fixture(scope="session")
def stories_folder(shared_folder: Path) -> Path:
    """A small real pretrained Llama with tied weights."""
    folder = shared_folder / "models" / "stories260K"
    if not folder.is_dir():
        pytest.skip("no model in ../shared/models/stories260K")
    return folder
