"""Folders that cannot be written to, are full or have too long a path: told before long work, with the variable to set."""

import errno
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from safetensors import SafetensorError

from clients import warm
from clients.data.dataset import Example
from clients.errors import InputError
from clients.exact.files import blame, check_writable
from clients.models.cache import made_once
from sim.scenario.workers import WorkersSpec
from sim.workers.opening import RAYS_LONGEST, check_temporary

PUBLIC = (Example("a", "b"),)
Usage = namedtuple("Usage", "total used free")


def never(folder: Path) -> None:
    raise AssertionError("pretraining began")


@pytest.fixture
def a_file(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("in the place of a folder")
    return tmp_path / "file"


def test_a_cache_that_cannot_be_written_to(a_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in (a_file, Path("/proc/nowhere")):
        monkeypatch.setenv("UNMERGE_CACHE", str(folder))
        with pytest.raises(InputError, match=rf"^{folder}/kind: cannot be written to \(.+\); set UNMERGE_CACHE to a folder"):
            made_once("kind", "recipe", PUBLIC, never)


def test_a_full_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNMERGE_CACHE", str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9, 1_500_000))
        with pytest.raises(InputError, match=r"\(1\.5 MB are left there, and 64 MB are needed\); set UNMERGE_CACHE"):
            made_once("kind", "recipe", PUBLIC, never)

    def filled(folder: Path) -> None:
        raise SafetensorError("I/O error: No space left on device")

    with pytest.raises(InputError, match=r"kind: cannot be written to \(I/O error: No space left.*set UNMERGE_CACHE"):
        made_once("kind", "recipe", PUBLIC, filled)
    assert list((tmp_path / "kind").iterdir()) == []


def test_a_model_that_is_there_needs_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNMERGE_CACHE", str(tmp_path))
    (tmp_path / "kind" / "recipe").mkdir(parents=True)
    (tmp_path / "kind" / "recipe" / "model.safetensors").write_text("")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9, 0))
    assert made_once("kind", "recipe", PUBLIC, never) == tmp_path / "kind" / "recipe"


def test_a_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b", "ANY", 1)
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_the_error_behind_an_error_names_the_folder() -> None:
    folder = Path("/cache/of/data")
    for code, name in ((errno.EROFS, "/cache/of/data/x"), (errno.EACCES, "/cache"), (errno.ENOSPC, None)):
        outer = RuntimeError("An error occurred while generating the dataset")
        outer.__cause__ = OSError(code, "No", name)
        with pytest.raises(InputError, match=r"^/cache/of/data: cannot be written to \(No\); set ANY to a folder that can$"):
            blame(outer, folder, "ANY")
    with pytest.raises(InputError, match="no space is left"):
        blame(OSError("Not enough disk space. Needed: Unknown size"), folder, "ANY")
    blame(OSError(errno.EACCES, "No", "/data/of/a/user.csv"), folder, "ANY")  # which is another matter
    blame(OSError(errno.ENOENT, "No", "/cache/of/data/x"), folder, "ANY")
    blame(ValueError("no number"), folder, "ANY")


def test_sockets_in_too_long_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    most = warm.LONGEST - len("/ray/") - len(RAYS_LONGEST)
    there = tmp_path / "t"
    there.mkdir()
    for length, fits in ((most, True), (most + 1, False)):
        link = Path("/tmp") / ("u" * (length - len("/tmp/")))
        link.symlink_to(there)
        try:
            monkeypatch.setenv("TMPDIR", str(link))
            monkeypatch.delenv("RAY_TMPDIR", raising=False)
            if fits:
                check_temporary(WorkersSpec())
            else:
                with pytest.raises(InputError, match=rf"^{link}/ray: is too long .* \(at most {most + 4} "):
                    check_temporary(WorkersSpec())
            check_temporary(WorkersSpec(kind="inline"))
            check_temporary(WorkersSpec(address="ray://elsewhere:1"))
        finally:
            link.unlink()
    monkeypatch.setattr(warm.tempfile, "gettempdir", lambda: "/tmp/" + "v" * 90)
    with pytest.raises(InputError, match=r"is too long for the sockets in it .*; set TMPDIR to a shorter one"):
        warm.place_of("key")


def test_temporary_files_that_cannot_be_written(a_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/proc")
    with pytest.raises(InputError, match=r"^/proc/ray: cannot be written to \(.+\); set TMPDIR"):
        check_temporary(WorkersSpec())
