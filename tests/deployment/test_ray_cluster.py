"""A Ray cluster of two nodes that is joined by address: the same digests as inline."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from sim.run import run_scenario
from sim.scenario.file import load_scenario
from tests.deployment.private import Private, outcome
from tests.deployment.ray_cluster import ray_cluster

pytestmark = [pytest.mark.slow, pytest.mark.deployment]


def test_a_cluster_of_two_nodes_gives_the_digests_of_inline(
    private: Private, with_workers: Callable[..., Path], tmp_path: Path
) -> None:
    """Each node has one CPU, so that each has one of the two workers."""
    with TemporaryDirectory(prefix="ray") as home, ray_cluster(Path(home), cpus=1) as address:  # sockets need a short path
        workers = {"learn": "flower", "stream": "ray", "count": 2, "cpus": 1, "address": address}
        run = run_scenario(load_scenario(str(with_workers(**workers))), tmp_path / "run")
    assert outcome(run) == private.inline
