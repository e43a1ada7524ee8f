"""A Ray cluster of two nodes on this machine, joined by address.

By hand, from the project's folder (Ctrl-C stops everything); prints the address for ``workers.address``:

    .venv/bin/python -m tests.deployment.ray_cluster
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.deployment.processes import environment, free_ports, running, stopped_by_signals, wait_until

NODES = 2


@contextmanager
def ray_cluster(home: Path, cpus: int = 2) -> Iterator[str]:
    """A head and another node, for the length of the block; yields the address."""
    port, *others = free_ports(1 + 2 * NODES)
    address = f"127.0.0.1:{port}"
    env = environment(home, RAY_USAGE_STATS_ENABLED="0", RAY_TMPDIR=str(home))
    with ExitStack() as started:
        for number in range(NODES):
            where = ["--head", "--port", str(port), "--include-dashboard=false"] if number == 0 else ["--address", address]
            ports = ["--node-manager-port", str(others[2 * number]), "--object-manager-port", str(others[2 * number + 1])]
            options = ["--num-cpus", str(cpus), "--node-ip-address", "127.0.0.1", "--block"]
            log = home / f"ray{number}.log"
            process = started.enter_context(running(["ray", "start", *where, *ports, *options], log, env))
            wait_until(lambda log=log: b"Ray runtime started" in log.read_bytes(), "ray start", log, process)  # type: ignore[misc]
        yield address


def main() -> None:
    """See the module."""
    with TemporaryDirectory() as home, stopped_by_signals(), ray_cluster(Path(home)) as address:
        print(address, flush=True)
        while True:
            time.sleep(1)


if __name__ == "__main__":
    main()
