"""Stores: the same files by the same names, in a folder, in memory, or seen from a folder of either."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.errors import InputError
from strategies.state.store import (
    Folder,
    Memory,
    Store,
    Within,
    called,
    read_arrays,
    read_vector,
    write_arrays,
    write_vector,
)
from strategies.strategy import mask_of

NAMES = ("a.bits", "b.json", "clients/a.bits", "clients/deep/er/a.bits", "clients.bits", "z/a.bits")
STEPS = st.lists(st.tuples(st.sampled_from(["write", "erase"]), st.sampled_from(NAMES), st.binary(max_size=9)), max_size=12)


def content(store: Store) -> dict[str, bytes]:
    return {name: store.read(name) for name in store.sizes()}


@settings(max_examples=30, deadline=None)
@given(STEPS)
def test_all_stores_hold_what_was_written_last(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, bytes]]
) -> None:
    folder, memory = tmp_path_factory.mktemp("store"), Memory()
    stores: list[Store] = [
        Folder(folder / "one"),
        memory,
        Folder(folder).at("two"),
        Within(Folder(folder), "three"),
        Memory().at("x"),
    ]
    right: dict[str, bytes] = {}
    for what, name, told in steps:
        for store in stores:
            store.write(name, told) if what == "write" else store.erase(name)
        right = right | {name: told} if what == "write" else {n: c for n, c in right.items() if n != name}
    for store in stores:
        assert store.sizes() == {name: len(right[name]) for name in sorted(right)}
        assert list(store.sizes()) == sorted(right)
        assert content(store) == right
        assert [name for name in NAMES if store.has(name)] == [name for name in NAMES if name in right]
        below = {name.removeprefix("clients/"): told for name, told in right.items() if name.startswith("clients/")}
        assert content(store.at("clients")) == below
        assert content(store.at("clients").at("deep")) == content(store.at("clients/deep"))
        with pytest.raises(InputError, match="nothing"):
            store.read("nothing")
    assert {path.name for path in folder.rglob("*") if path.is_dir()} <= {
        "one",
        "two",
        "three",
        "clients",
        "deep",
        "er",
        "z",
    }
    assert not [path for path in folder.rglob("*") if path.is_dir() and path.parent != folder and not any(path.iterdir())]


def test_writing_below_is_writing_in_the_folder(tmp_path: Path) -> None:
    for store in (Folder(tmp_path), Memory()):
        store.at("deep").at("er").write("a", b"1")
        assert store.read("deep/er/a") == b"1"
        assert store.sizes() == {"deep/er/a": 1}
    assert (
        Folder(tmp_path).at("deep").path("er/a")
        == tmp_path / "deep" / "er" / "a"
        == Within(Folder(tmp_path), "deep").path("er/a")
    )
    for memory in (Memory(), Memory().at("x")):
        with pytest.raises(NotImplementedError, match="a lies in memory alone"):
            memory.path("a")


def test_scratch_is_gone_after_the_block(tmp_path: Path) -> None:
    for store in (Folder(tmp_path / "new"), Memory(), Within(Folder(tmp_path), "x"), Memory().at("x")):
        with store.scratch() as folder:
            (Path(folder) / "file").write_bytes(b"1")
        assert not Path(folder).exists()
        assert store.sizes() == {}


def test_arrays_come_back_and_damage_is_told(tmp_path: Path) -> None:
    tau, counts = np.arange(5, dtype=np.float32)[::-1], np.array([[1, 2]])
    for store in (Folder(tmp_path), Memory(), Memory().at("x")):
        write_vector(store, "v.safetensors", tau)
        np.testing.assert_array_equal(read_vector(store, "v.safetensors"), [4, 3, 2, 1, 0])
        write_arrays(store, "two.safetensors", {"tau": tau, "counts": counts})
        np.testing.assert_equal(read_arrays(store, "two.safetensors"), {"tau": tau, "counts": counts})
        store.write("two.safetensors", b"{")
        for name in ("two.safetensors", "none.safetensors"):
            with pytest.raises(InputError, match=name):
                read_arrays(store, name)


def test_clients_files_are_called_by_a_digest() -> None:
    """The first 128 bits of SHA-256, as ``printf alice | sha256sum`` tells them."""
    assert called("alice") == "2bd806c97f0e00af1a1fc3328fa763a9"
    assert mask_of("alice") == "clients/2bd806c97f0e00af1a1fc3328fa763a9"
    names = ["alice", "Alice", "a/b", "a%2Fb", "members", "merged.safetensors", "料" * 30, "u" * 250, "u" * 251, ""]
    assert len({called(name) for name in names}) == len(names)
    assert {len(called(name)) for name in names} == {32}
