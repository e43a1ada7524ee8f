import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from clients.data import digits
from clients.errors import InputError

WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def pixels(row: dict[str, dict[str, bytes]]) -> np.ndarray:
    image = Image.open(io.BytesIO(row["image"]["bytes"]))
    assert (image.format, image.mode, image.size) == ("PNG", "L", (8, 8))
    return np.asarray(image).astype(int)


def test_every_rendering_shows_the_stored_digits() -> None:
    """Compared with scikit-learn's own values: grey is 255/16 of them, inverted, or turned by 90° to the left."""
    stored = load_digits()
    upright, negative, turned = (digits.rows(config) for config in ("upright", "negative", "turned"))
    for rows in (upright, negative, turned):
        assert [row["label"] for row in rows] == [WORDS[digit] for digit in stored.target]
        assert {row["image"]["path"] for row in rows} == {None}
    for i in range(0, 1797, 50):
        exact = stored.images[i] * 255 / 16
        assert np.abs(pixels(upright[i]) - exact).max() <= 0.5
        assert np.abs(pixels(negative[i]) - (255 - exact)).max() <= 0.5
        # the last column of the digit becomes the first row
        assert pixels(turned[i]).tolist() == [pixels(upright[i])[:, 7 - row].tolist() for row in range(8)]


def test_the_digits_are_the_real_ones() -> None:
    rows = digits.rows(None)
    assert rows == digits.rows("upright")
    assert len(rows) == 1797
    counts = Counter(row["label"] for row in rows)
    assert [counts[word] for word in WORDS] == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # scikit-learn's manual
    assert pixels(rows[0])[0].tolist() == [0, 0, 80, 207, 143, 16, 0, 0]  # 5, 13, 9 and 1 of 16: the first zero's top


def test_an_unknown_rendering_is_explained() -> None:
    with pytest.raises(InputError, match=r"digits has no configuration 'sideways', only upright, negative, turned"):
        digits.rows("sideways")


def test_some_of_the_digits_are_a_data_set_of_their_own() -> None:
    rows = digits.rows("turned-6-9")
    assert rows == [row for row in digits.rows("turned") if row["label"] in WORDS[6:]]
    assert len(rows) == 181 + 179 + 174 + 180
    assert digits.caption("turned-6-9") == digits.CAPTIONS["turned"]
    for wrong in ("turned-4-4", "turned-9-0", "turned-6", "sideways-0-4"):
        with pytest.raises(InputError, match=rf"no configuration '{wrong}', only .*, and some of the digits, as up"):
            digits.rows(wrong)


def test_each_rendering_has_a_caption() -> None:
    assert {config: caption.format(label="six") for config, caption in digits.CAPTIONS.items()} == {
        "upright": "a photo of the digit six.",
        "negative": "a negative of the digit six.",
        "turned": "a turned photo of the digit six.",
    }
    assert list(digits.RENDERINGS) == list(digits.CAPTIONS)
