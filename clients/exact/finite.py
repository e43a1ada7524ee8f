"""What is not finite is told, never compared: NaN is neither the largest of numbers nor the smallest."""

from typing import Any

import numpy as np

from clients.errors import NotFiniteError


def hits(scores: np.ndarray, right: np.ndarray) -> np.ndarray:
    """1 where the right label has the largest score, of equals the first, else 0; float64 [examples].

    NaN where the largest is not finite: then nothing was told apart. A label may have −∞.

    Args:
        scores: of labels, [examples, labels].
        right: the right one's column, int64 [examples].
    """
    return np.where(np.isfinite(scores.max(1)), scores.argmax(1) == right, np.nan)


def check(values: Any, what: str) -> None:
    """Raise NotFiniteError, saying what it is of, unless all of these numbers are finite."""
    if not np.isfinite(values).all():
        raise NotFiniteError(f"{what}: not all of its numbers are finite")
