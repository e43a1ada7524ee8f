"""A scenario whose clients' data lie in two folders, one for each node; and what it comes to inline."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from clients.models.tiny_gpt2 import folder_of
from clients.work.site import Site
from sim.run import run_scenario
from sim.scenario.file import load_scenario
from tests.deployment.private import Private, outcome

CLIENTS = [f"c{number}" for number in range(8)]
SCENARIO: dict[str, Any] = {
    "name": "private",
    "data": {
        "family": "table",
        "source": "all.jsonl",
        "prompt": "{text}: {label}",
        "client_column": "who",
        "clients": 8,
        "labels": ["y", "n"],
    },
    "model": {"base": "base", "max_length": 64},
    "tuning": {"steps": 3},
    "strategies": [
        "zero_shot",
        "local",
        {"average": {"alpha": [0.5, 1.0]}},
        "sift_masks",
        {"clamu": {"clusters": "clients", "steps": 2, "affinity": "random"}},
    ],
    "stream": {"requests": 2, "release": {"every": 2}},
    "workers": {"kind": "inline", "cohort": 3},
    "report": {"html": False},
}


def write(path: Path, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="session")
def private(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Private:
    """Written once; the base model is one that needs no public part."""
    folder = tmp_path_factory.mktemp("private")
    shutil.copytree(folder_of(site.settings.model.tiny, site.manifest.public), folder / "base")
    rows = [
        {"who": who, "text": f"{who} says {number}", "label": "yn"[(number + index) % 2]}
        for index, who in enumerate(CLIENTS)
        for number in range(9)
    ]
    write(folder / "all.jsonl", rows)
    nodes = folder / "node1", folder / "node2"
    for number, node in enumerate(nodes):
        write(node / "train.jsonl", [row for row in rows if CLIENTS.index(row["who"]) % 2 == number])
    (folder / "private.yaml").write_text(yaml.safe_dump(SCENARIO))
    run = run_scenario(load_scenario(str(folder / "private.yaml")), folder / "inline")
    return Private(folder / "private.yaml", nodes, outcome(run))


@pytest.fixture
def with_workers(private: Private) -> Callable[..., Path]:
    """Writes the scenario with other workers, beside the first."""

    def written(**workers: Any) -> Path:
        path = private.scenario.with_name("other.yaml")
        path.write_text(yaml.safe_dump(SCENARIO | {"workers": {"cohort": 3, **workers}}))
        return path

    return written
