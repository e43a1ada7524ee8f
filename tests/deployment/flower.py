"""A Flower deployment on the loopback: a SuperLink and one SuperNode per folder of data, and a run on it.

By hand, from the project's folder (Ctrl-C stops everything):

    .venv/bin/python -m tests.deployment.flower SCENARIO OUT DATA_OF_NODE_1 DATA_OF_NODE_2

A node that may read the scenario's own data has - in place of its data.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.error import URLError
from urllib.request import urlopen

from tests.deployment.processes import PROJECT, environment, free_ports, running, stopped_by_signals, wait_until

POLL = {"FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.2"}
"""Seconds between two looks of a SuperNode for an app to start; Flower's default is 1."""


NODE = (sys.executable, "-m", "clients.node")
FLOWERS_NODE = ("flower-supernode",)


@dataclass(frozen=True)
class Deployment:
    """A SuperLink with its SuperNodes.

    Attributes:
        home: Flower's files, and the logs ``superlink.log``, ``node1.log``, ...
        env: of the commands that talk to it.
        nodes: process ids of the SuperNodes.
    """

    home: Path
    env: dict[str, str]
    nodes: tuple[int, ...]

    def flwr(self, *arguments: str) -> str:
        """What a command of Flower's prints."""
        done = subprocess.run(["flwr", *arguments], env=self.env, cwd=PROJECT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"flwr {' '.join(arguments)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.stdout

    def run(self, scenario: Path, out: Path, within: float = 600) -> None:
        """``flwr run`` of this project, until the run has ended.

        Raises:
            RuntimeError: it failed; with the end of its log.
        """
        config = f'scenario="{scenario}" out="{out}"'
        told = json.loads(self.flwr("run", str(PROJECT), "here", "--run-config", config, "--format", "json"))
        run_id, started, status = str(told["run-id"]), time.monotonic(), "started"
        while not status.startswith("finished"):
            asked = time.monotonic()  # asking starts a process of Flower's and costs more than looking: less and less often
            if asked - started > within:
                self.flwr("stop", run_id, "here")
                raise RuntimeError(f"the run had not ended in {within:g} s (its status: {status})")
            while not (out / "summary.json").exists() and time.monotonic() - asked < max(5, asked - started):
                time.sleep(0.2)
            status = self.status(run_id)
        if status != "finished:completed":
            raise RuntimeError(f"{status}:\n{self.flwr('log', run_id, 'here', '--show')[-3000:]}")

    def status(self, run_id: str) -> str:
        """A run's status, as in ``finished:completed``."""
        return str(json.loads(self.flwr("list", "here", "--run-id", run_id, "--format", "json"))["runs"][0]["status"])


@contextmanager
def deployment(home: Path, sources: Sequence[Path | None], program: Sequence[str] = NODE) -> Iterator[Deployment]:
    """A SuperLink and a SuperNode per source of data, for the length of the block.

    Args:
        sources: None: a node without data of its own.
        program: what a SuperNode runs.
    """
    link, *ports = free_ports(1 + len(sources))
    env = environment(home)
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "here"\n\n[superlink.here]\naddress = "127.0.0.1:{link}"\ninsecure = true\n'
    )
    with ExitStack() as started:
        log = home / "superlink.log"
        command = ["flower-superlink", "--insecure", "--disable-runtime-dependency-installation"]
        server = started.enter_context(running([*command, "--host", "127.0.0.1", "--port", str(link)], log, env))
        wait_until(lambda: _answers(link), "flower-superlink", log, server)
        nodes = []
        for number, (port, source) in enumerate(zip(ports, sources, strict=True), 1):
            log = home / f"node{number}.log"
            command = [*program, "--insecure", "--superlink", f"127.0.0.1:{link}", "--port", str(port)]
            own = [] if source is None else ["--node-config", f'data-source="{source}"']
            mine = env | POLL | {"FLWR_HOME": str(home / f"node{number}")}  # two that unpack one app in one place may meet
            node = started.enter_context(running([*command, *own], log, mine))
            wait_until(lambda log=log: b"SuperNode ID" in log.read_bytes(), "flower-supernode", log, node)  # type: ignore[misc]
            nodes.append(node.pid)
        yield Deployment(home, env, tuple(nodes))


def _answers(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/health", timeout=1) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def main() -> None:
    """See the module."""
    scenario, out, *data = sys.argv[1:]
    sources = [None if source == "-" else Path(source).resolve() for source in data]
    with TemporaryDirectory() as home, stopped_by_signals(), deployment(Path(home), sources) as flower:
        started = time.perf_counter()
        flower.run(Path(scenario).resolve(), Path(out).resolve())
        print(f"{out}: {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
