"""A scenario whose clients' data lie at two nodes, and what a run of one comes to."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Private:
    """Attributes:
    scenario: the file; its data and base model are named relative to it.
    nodes: a folder of data for each node: even clients at the first, odd ones at the second.
    inline: what a run of it in one process comes to, by strategy.
    """

    scenario: Path
    nodes: tuple[Path, Path]
    inline: dict[str, Any]


def outcome(run: Path) -> dict[str, Any]:
    """Digest, accuracy and price of every strategy of a finished run."""
    told = json.loads((run / "summary.json").read_text())
    return {label: (s["state_digest"], s["accuracy"], s["gradient_steps"]) for label, s in told["strategies"].items()}
