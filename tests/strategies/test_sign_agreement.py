"""The measurement of when tunings agree in sign: its model of noise against closed forms and draws, and what it counts."""

import numpy as np
import pytest

from tests.benchmarks.sign_agreement import agreeing, expected, sign_correlation


@pytest.mark.parametrize("n", [2, 5, 10, 30])
def test_the_model_of_noise_has_its_closed_forms(n: int) -> None:
    assert expected(0.0, n) == pytest.approx(2.0 ** (1 - n))  # independent signs
    assert expected(1 / 3, n) == pytest.approx(2 / (n + 1), rel=1e-6)  # values correlated by one half: Φ(z) is uniform
    assert expected(1.0, n) == pytest.approx(1.0, abs=1e-3)


def test_two_agree_as_often_as_their_signs_correlate() -> None:
    for correlation in (0.1, 0.4, 0.8):
        assert expected(correlation, 2) == pytest.approx((1 + correlation) / 2, rel=1e-6)


def test_the_model_is_that_of_signal_and_noise() -> None:
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=200_000) + 1.2 * rng.normal(size=(10, 200_000))).astype(np.float32)
    correlation = sign_correlation(vectors)
    assert correlation == pytest.approx(2 / np.pi * np.arcsin(1 / (1 + 1.2**2)), abs=0.005)
    assert agreeing(vectors, 10).mean() == pytest.approx(expected(correlation, 10), rel=0.05)


def test_an_entry_that_one_did_not_move_does_not_agree() -> None:
    vectors = np.array([[1, 1, 0, 2, -1], [3, -1, 0, 1, -2], [1, 1, 0, 0, -1]], dtype=np.float32)
    assert agreeing(vectors, 3).tolist() == [True, False, False, False, True]
    assert agreeing(vectors, 2).tolist() == [True, False, False, True, True]
    assert sign_correlation(vectors) == pytest.approx((1 - 1 / 3 + 1) / 3)  # of the entries that all three moved
