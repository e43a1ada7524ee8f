"""RandAugment's operations on pictures small enough to say by hand what comes of them."""

import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from clients.data.dataset import Example
from clients.errors import InputError
from clients.work import augment
from clients.work.augment import NAMES, SIGNED, UNSIGNED, augmented, operate


def png(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values).save(file, format="PNG")
    return file.getvalue()


def pixels(image: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(image)))


NOISE = np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)
PICTURE = Image.fromarray(NOISE)


def changed(name: str, strength: float, values: np.ndarray = NOISE) -> np.ndarray:
    return np.asarray(operate(Image.fromarray(values), name, strength))


def test_there_are_the_papers_fourteen() -> None:
    assert len(NAMES) == 14
    assert set(SIGNED) & set(UNSIGNED) == set()


@pytest.mark.parametrize("name", NAMES)
def test_nothing_changes_without_strength(name: str) -> None:
    """But what has none: auto-contrast and equalize."""
    if name == "auto-contrast":
        expected = np.stack([np.asarray(channel_stretched(NOISE[..., c])) for c in range(3)], -1)
        np.testing.assert_allclose(changed(name, 0.0).astype(int), expected, atol=1)
    elif name == "equalize":
        assert np.ptp(changed(name, 0.0)) == 255
    else:
        np.testing.assert_array_equal(changed(name, 0.0), NOISE)


def channel_stretched(values: np.ndarray) -> np.ndarray:
    low, high = int(values.min()), int(values.max())
    return (values.astype(float) - low) * 255 / (high - low)


def test_values_by_hand() -> None:
    np.testing.assert_array_equal(changed("identity", 1.0), NOISE)
    np.testing.assert_array_equal(changed("solarize", 1.0), 255 - NOISE)
    np.testing.assert_array_equal(changed("solarize", 0.5), np.where(NOISE < 128, NOISE, 255 - NOISE))
    np.testing.assert_array_equal(changed("posterize", 1.0), NOISE & 0b11110000)
    np.testing.assert_array_equal(changed("posterize", 0.5), NOISE & 0b11111100)
    np.testing.assert_allclose(changed("brightness", -1.0), NOISE * 0.1, atol=1)
    np.testing.assert_allclose(changed("brightness", 0.5), np.minimum(NOISE * 1.45, 255), atol=1)
    grey = NOISE @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(changed("color", -1.0), 0.9 * grey[..., None] + 0.1 * NOISE, atol=1.5)
    np.testing.assert_allclose(changed("contrast", -1.0), 0.9 * grey.mean() + 0.1 * NOISE, atol=1.5)
    flat = np.full((6, 6, 3), 77, dtype=np.uint8)
    np.testing.assert_array_equal(changed("sharpness", 1.0, flat), flat)
    assert np.std(changed("sharpness", -1.0)[1:-1, 1:-1]) < np.std(NOISE) < np.std(changed("sharpness", 1.0)[1:-1, 1:-1])


def test_movements_by_hand() -> None:
    """0.45 of ten columns are 4.5, and of twelve rows 5.4: the pixel whose middle is nearest is taken."""
    shifted = changed("shift x", 1.0)
    np.testing.assert_array_equal(shifted[:, :5], NOISE[:, 5:])
    assert (shifted[:, 6:] == 128).all()
    np.testing.assert_array_equal(changed("shift x", -2 / 4.5)[:, 2:], NOISE[:, :-2])
    np.testing.assert_array_equal(changed("shift y", 3 / 5.4)[:-3], NOISE[3:])
    turned = changed("rotate", 3.0)  # a quarter turn, which is no strength of its own
    square = changed("rotate", 3.0, NOISE[:10])
    assert turned.shape == NOISE.shape
    np.testing.assert_array_equal(square, np.rot90(NOISE[:10]))
    sheared = changed("shear x", 1.0)
    for row in range(12):
        by = int(np.floor(0.5 + 0.3 * (row + 0.5)))
        np.testing.assert_array_equal(sheared[row, : 10 - by], NOISE[row, by:])
    for column, by in enumerate(int(np.floor(0.5 + 0.3 * (c + 0.5))) for c in range(10)):
        np.testing.assert_array_equal(changed("shear y", 1.0)[: 12 - by, column], NOISE[by:, column])


def test_a_key_decides_the_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[str, float]] = []
    whole = augment.operate
    monkeypatch.setattr(augment, "operate", lambda p, name, s: drawn.append((name, s)) or whole(p, name, s))
    example = Example("", "cat", png(NOISE), "animals")
    for number in range(300):
        found = augmented(example, 2, 6, [7, number])
        assert (found.prompt, found.answer, found.label_set) == ("", "cat", "animals")
        assert pixels(found.image).shape == NOISE.shape
    counts = Counter(name for name, _ in drawn)
    assert set(counts) == set(NAMES)
    assert max(counts.values()) < 3 * min(counts.values())  # 600 draws of 14
    assert {round(s, 9) for name, s in drawn if name in SIGNED} == {-0.6, 0.6}
    assert {s for name, s in drawn if name in UNSIGNED} == {0.6}
    first = drawn[:2]
    drawn.clear()
    again = augmented(example, 2, 6, [7, 0])
    assert drawn == first
    by_hand = PICTURE
    for name, strength in first:
        by_hand = whole(by_hand, name, strength)
    np.testing.assert_array_equal(pixels(again.image), np.asarray(by_hand))


def test_a_picture_that_does_not_decode_is_said() -> None:
    with pytest.raises(InputError, match="a picture does not decode"):
        augmented(Example("", "cat", b"no picture"), 1, 1, [])
