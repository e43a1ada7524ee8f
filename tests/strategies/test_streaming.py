"""Passes over many vectors: every entry once, whatever the block size; selections are exact, ties and all."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from clients.errors import InputError
from strategies.state import streaming


@given(st.integers(0, 200_000), st.integers(0, 200_000))
def test_blocks_cover_every_entry_once(start: int, stop: int) -> None:
    parts = list(streaming.blocks(start, stop))
    assert [i for part in parts for i in range(part.start, part.stop)] == list(range(start, stop))
    assert all(part.stop - part.start <= streaming.BLOCK for part in parts)


def test_a_file_is_mapped_and_checked(tmp_path: Path) -> None:
    vector = np.arange(11, dtype=np.float32)
    save_file({"value": vector}, tmp_path / "a.safetensors")
    np.testing.assert_array_equal(streaming.mapped(tmp_path / "a.safetensors", 11)(slice(3, 9)), vector[3:9])
    for size, content in ((12, vector), (11, vector.astype(np.float64))):
        save_file({"value": content}, tmp_path / "b.safetensors")
        with pytest.raises(InputError, match=r"b\.safetensors: holds float"):
            streaming.mapped(tmp_path / "b.safetensors", size)
    (tmp_path / "b.safetensors").write_bytes(b"no")
    for name in ("b", "nowhere"):
        with pytest.raises(InputError, match=rf"{name}\.safetensors: cannot be read"):
            streaming.mapped(tmp_path / f"{name}.safetensors", 11)


def test_mapping_many_files_holds_no_file_open(tmp_path: Path) -> None:
    """A run of thousands of clients must not meet the limit of open files."""
    save_file({"value": np.zeros(4, dtype=np.float32)}, tmp_path / "a.safetensors")
    before = len(list(Path("/proc/self/fd").iterdir()))
    rows = [streaming.mapped(tmp_path / "a.safetensors", 4) for _ in range(50)]
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert float(streaming.total(rows, 4).sum()) == 0


def test_total_and_mean_by_hand() -> None:
    size = streaming.BLOCK + 5
    stack = np.random.default_rng(0).integers(-99, 99, (3, size)).astype(np.float32)
    rows = [row.__getitem__ for row in stack]
    np.testing.assert_array_equal(streaming.total(rows, size), stack.sum(0))
    part = slice(size - 7, size)
    np.testing.assert_array_equal(streaming.mean_of(rows)(part), (stack.sum(0, dtype=np.float64) / 3).astype("f4")[part])
    np.testing.assert_array_equal(streaming.mean_of(rows[:1])(part), stack[0, part])


def shapes(size: int) -> dict[str, np.ndarray]:
    """Values that a sample misleads about, or that hold many equal ones."""
    rng = np.random.default_rng(3)
    normal = np.abs(rng.standard_normal(size, dtype=np.float32))
    return {
        "random": normal,
        "sorted": np.sort(normal),
        "few levels": np.round(normal),
        "equal": np.full(size, 2, dtype=np.float32),
        "half zero": normal * (rng.random(size) < 0.5),
        "large where the sample does not look": np.where(np.arange(size) % streaming.BLOCK < streaming.SAMPLED, 0, normal),
    }


@pytest.mark.parametrize("size", [1, 7, streaming.WHOLE, 5 * streaming.BLOCK + 11])
def test_the_kth_largest_is_exact(size: int) -> None:
    for name, values in shapes(size).items():
        padded = np.concatenate([[9e9], values, [9e9]]).astype(np.float32)
        downwards = np.sort(values)[::-1]
        for k in sorted({1, 2, size // 5, size // 2, size - 1, size} & set(range(1, size + 1))):
            assert streaming.kth_largest(padded.__getitem__, 1, size + 1, k) == downwards[k - 1], (name, k)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.25, 1.0, 2.0, 3.5]), min_size=5, max_size=5), st.integers(1, 30), st.data())
def test_between_brackets_of_any_kind(levels: list[float], copies: int, data: st.DataObject) -> None:
    values = np.random.default_rng(copies).permutation(np.repeat(np.array(levels, dtype=np.float32), copies))
    k = data.draw(st.integers(1, values.size))
    low, high = sorted(np.float32(data.draw(st.sampled_from([-1.0, *levels, 9.0]))) for _ in range(2))
    right = np.sort(values)[::-1][k - 1]
    found = streaming._between(values.__getitem__, 0, values.size, k, low, high)
    assert found == (right if low <= right <= high else None)
