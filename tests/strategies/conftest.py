"""Kept states without a model behind them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from updates import BOUNDS, SEED

from strategies.state.kept import Keeps, Kept


@pytest.fixture
def make_kept(tmp_path: Path) -> Callable[..., Kept]:
    """Kept states in folders of their own."""
    made = iter(range(1000))

    def make(keeps: Keeps, kind: str | None = "sign_fixed") -> Kept:
        return Kept(tmp_path / f"kept{next(made)}", kind, BOUNDS, keeps, SEED)  # type: ignore[arg-type]

    return make
