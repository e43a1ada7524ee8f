import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.errors import InputError
from clients.exact import bits, digest

MASKS = st.lists(st.booleans(), max_size=70)
SIGNS_OF_7 = [-1, -1, 1, -1, -1, 1, -1, 1, 1, 1, -1, 1, 1, 1, 1, 1]
GOLDEN = "e03d49ace77d2af54aca60c5e8b6467e31bb79f314b7d8e2eca7435a256160b4"
SMALL = st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 0.5, 1e-40])


@given(MASKS)
def test_pack_against_plain_python(mask: list[bool]) -> None:
    expected = [0] * ((len(mask) + 7) // 8)
    for i, one in enumerate(mask):
        expected[i // 8] |= one << (i % 8)
    packed = bits.pack(np.array(mask, dtype=bool))
    assert packed.tolist() == expected
    assert bits.unpack(packed, len(mask)).tolist() == mask
    assert bits.count(packed) == sum(mask)


def test_pack_by_hand() -> None:
    assert bits.pack(np.array([1, 0, 0, 1, 0, 0, 0, 0, 1, 1], dtype=bool)).tolist() == [0b1001, 0b11]


@pytest.mark.parametrize(
    "packed",
    [
        np.zeros(1, dtype=np.uint8),
        np.zeros(3, dtype=np.uint8),
        np.zeros((2, 1), dtype=np.uint8),
        np.zeros(2, dtype=np.int8),
        np.zeros(2, dtype=bool),
    ],
)
def test_packed_masks_of_another_size_are_refused(packed: np.ndarray) -> None:
    theta = np.zeros(10, dtype=np.float32)
    with pytest.raises(InputError, match="a mask of 10 parameters is 2 bytes"):
        bits.unpack(packed, 10)
    with pytest.raises(InputError, match="a mask of 10 parameters is 2 bytes"):
        bits.add_masked(theta, theta, 1.0, packed)


def test_directions_of_another_size_are_refused() -> None:
    for size in (9, 11):
        with pytest.raises(InputError, match="does not fit 10 parameters"):
            bits.add_masked(np.zeros(10, dtype=np.float32), np.ones(size, dtype=np.float32), 1.0)


def test_sign_vector_is_the_same_everywhere(elsewhere: dict[str, Any]) -> None:
    """Fixed values: a library that changes its generator would make old ledgers unverifiable."""
    assert bits.sign_vector(7, 16).tolist() == SIGNS_OF_7
    golden = digest.of_array(bits.sign_vector(123, 1001))
    assert golden == GOLDEN
    assert elsewhere["signs"] == golden


def test_sign_vector_is_balanced_and_its_seeds_differ() -> None:
    size = 100_003
    drawn = [bits.sign_vector(seed, size) for seed in range(4)]
    for signs in drawn:
        assert signs.dtype == np.float32
        assert set(signs.tolist()) == {-1.0, 1.0}
        assert abs(signs.sum()) < 5 * size**0.5  # five standard deviations
        assert abs((signs[1:] * signs[:-1]).sum()) < 5 * size**0.5  # nor do neighbours agree
    for i in range(4):
        for j in range(i):
            assert abs((drawn[i] * drawn[j]).sum()) < 5 * size**0.5


@given(st.lists(SMALL, min_size=1, max_size=30), st.sampled_from([0.0, 0.01, 0.2, 0.25, 0.5, 0.75, 0.99, 1.0]))
def test_largest_share_against_a_sort(entries: list[float], keep: float) -> None:
    vector = np.array(entries, dtype=np.float32)
    magnitudes = sorted((abs(entry) for entry in vector.tolist() if entry != 0), reverse=True)
    kept = round(keep * len(magnitudes))
    expected = [entry != 0 and kept > 0 and abs(entry) >= magnitudes[kept - 1] for entry in vector.tolist()]
    assert bits.largest_share(vector, keep).tolist() == expected


def test_largest_share_by_hand() -> None:
    vector = np.array([0, -3, 1, 0, 2, -2, 0.5, 4], dtype=np.float32)  # six are not zero
    assert bits.largest_share(vector, 1.0).tolist() == [False, True, True, False, True, True, True, True]
    assert np.flatnonzero(bits.largest_share(vector, 1 / 3)).tolist() == [1, 7]
    assert np.flatnonzero(bits.largest_share(vector, 0.5)).tolist() == [1, 4, 5, 7]  # a tie at the edge is kept whole
    assert not bits.largest_share(np.zeros(4, dtype=np.float32), 0.5).any()


@pytest.mark.parametrize("size", [1, 7, 8, 9, 1001, 65535, 65536, 65537, 2 * 65536 + 3])
@pytest.mark.parametrize("scale", [1.0, 0.3, -1.6])
def test_add_masked_against_the_formula(size: int, scale: float) -> None:
    random = np.random.default_rng(size)
    theta, direction = random.standard_normal((2, size)).astype(np.float32)
    mask = random.random(size) < 0.5
    packed = bits.pack(mask)
    expected = theta + np.float32(scale) * np.where(mask, direction, np.float32(0))
    served = bits.add_masked(theta, direction, scale, packed)
    assert served.tobytes() == expected.tobytes()
    out = np.empty_like(theta)
    assert bits.add_masked(theta, direction, scale, packed, out) is out
    assert out.tobytes() == expected.tobytes()
    everything = bits.add_masked(theta, direction, scale)
    assert everything.tobytes() == (theta + np.float32(scale) * direction).tobytes()
    assert bits.add_masked(theta, direction, scale, np.zeros_like(packed)).tobytes() == theta.tobytes()


def test_weighted_sum_is_rounded_once_in_blocks_as_whole() -> None:
    size = 2 * bits.BLOCK + 3
    directions = list(np.random.default_rng(0).normal(size=(3, size)).astype(np.float32))
    weights = [0.1, 0.7, -1 / 3]
    found = bits.weighted_sum(directions, weights)
    right = [math.fsum(w * float(d[i]) for w, d in zip(weights, directions, strict=True)) for i in range(0, size, 1009)]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[::1009], np.array(right), rtol=6e-8)
    assert bits.weighted_sum([np.float32([1.0, 2.0])], [0.5]).tolist() == [0.5, 1.0]
    with pytest.raises(InputError, match="cannot be added"):
        bits.weighted_sum([directions[0], directions[1][1:]], [1.0, 1.0])
