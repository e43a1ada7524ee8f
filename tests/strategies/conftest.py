"""Kept states without a model behind them."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from updates import BOUNDS, SEED

from strategies.state.kept import Kept
from strategies.state.part import Part


@pytest.fixture
def make_kept(tmp_path: Path) -> Callable[..., Kept]:
    """Kept states in folders of their own."""
    made = iter(range(1000))

    def make(parts: Iterable[Part], rule: str | None = "sign_fixed") -> Kept:
        return Kept(tmp_path / f"kept{next(made)}", rule, BOUNDS, parts, SEED)

    return make
