"""A Ray cluster of two nodes that is joined by address: the same digests as inline."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import ray

from sim.run import run_scenario
from sim.scenario.file import load_scenario
from sim.scenario.workers import WorkersSpec
from sim.workers.ray import ray_instance
from tests.deployment.private import Private, outcome
from tests.deployment.ray_cluster import ray_cluster

pytestmark = [pytest.mark.slow, pytest.mark.deployment]


def test_a_cluster_of_two_nodes_gives_the_digests_of_inline(
    private: Private, with_workers: Callable[..., Path], tmp_path: Path
) -> None:
    with TemporaryDirectory(prefix="ray") as home, ray_cluster(Path(home), cpus=1) as address:  # sockets need a short path
        workers = {"learn": "flower", "stream": "ray", "count": 2, "cpus": 0.5, "address": address}
        scenario = load_scenario(str(with_workers(**workers)))
        run = run_scenario(scenario, tmp_path / "run")
        with ray_instance(WorkersSpec(count=2, cpus=1, address=address)):  # one worker fits on each
            assert [node["Alive"] for node in ray.nodes()] == [True, True]
    assert outcome(run) == private.inline
