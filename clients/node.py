"""``flower-supernode`` for short messages: ``python -m clients.node`` takes the same options and answers sooner.

Flower's own starts a Python process for every message, looks for the next one every 3 seconds, and again after a second if
it comes upon one that is still on its way. This one forks a process that has imported Flower already, and looks five times a
second; everything else is Flower's. It has no setting for these, so its attributes are replaced here. Both kinds of nodes
may be in one federation.
"""

import hashlib
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

# Flower reads its environment when it is imported.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")

from flwr.cli.install import install_from_fab
from flwr.common.constant import APP_DIR, FAB_HASH_TRUNCATION
from flwr.supercore.superexec import run_superexec
from flwr.supercore.superexec.executor.subprocess_executor import SubprocessExecutor
from flwr.supercore.superexec.executor.types import ExecutionSpec, LaunchResult
from flwr.supercore.tls import validate_and_resolve_root_certificates
from flwr.supercore.utils import get_flwr_home
from flwr.supernode import start_client_internal
from flwr.supernode.runtime import run_clientapp

LOOK = 0.2
"""Seconds between two looks for messages, for apps to start, and for their replies."""
SOON = 0.05
"""Seconds until what was still on its way is looked for again; it doubles each time."""
APP = "flwr-clientapp"
"""The program that Flower starts for a message: what the app takes itself to be in."""
STARTER = "superexec"
"""The first argument of the process that starts apps."""


class Forking(SubprocessExecutor):
    """Starts an app by a fork of this process instead of a new one."""

    def launch(self, spec: ExecutionSpec) -> LaunchResult:
        """Start the app of one message."""
        if os.fork():
            return LaunchResult.accepted()
        status = 1
        try:
            sys.argv = [APP]
            certificates = validate_and_resolve_root_certificates(spec.root_certificates_path, spec.insecure)
            run_clientapp.run_clientapp(
                runtime_api_address=spec.runtime_api_address,
                token=spec.token,
                insecure=spec.insecure,
                certificates=certificates,
                parent_pid=spec.parent_pid,
                runtime_dependency_install=spec.runtime_dependency_install,
            )
        except SystemExit as ended:  # how an app ends
            status = ended.code if isinstance(ended.code, int) else 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def reconcile(self) -> None:
        """Take note of apps that have ended."""
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass


def installed(fab: bytes, skip_prompt: bool) -> Path:
    """Where a bundle is unpacked. Flower unpacks and checks it for each message, to find that it is there already."""
    ending = hashlib.sha256(fab).hexdigest()[:FAB_HASH_TRUNCATION]
    there = next((get_flwr_home() / APP_DIR).glob(f"*.{ending}"), None)
    return there or install_from_fab(fab, skip_prompt=skip_prompt)


def start_apps() -> None:
    """``flower-superexec``, with forks."""
    from flwr.supercore.cli.flower_superexec import flower_superexec

    os.environ.setdefault("FLWR_SUPEREXEC_TASK_POLL_INTERVAL", str(LOOK))
    app: Any = run_clientapp
    app.pull_and_inflate_object_from_tree = partial(app.pull_and_inflate_object_from_tree, initial_backoff=SOON)
    app.install_from_fab = installed
    run_superexec.get_executor = lambda *kind, **options: Forking()  # type: ignore[attr-defined]
    flower_superexec()


def serve() -> None:
    """``flower-supernode``, with this file's way of starting apps."""
    from flwr.supernode.cli.flower_supernode import flower_supernode

    def start(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", "clients.node", STARTER, *command[1:]], **options)

    internal: Any = start_client_internal
    internal.subprocess = SimpleNamespace(Popen=start)
    internal.time = SimpleNamespace(sleep=lambda seconds: time.sleep(min(seconds, LOOK)))
    internal.pull_objects = partial(internal.pull_objects, initial_backoff=SOON)
    flower_supernode()


if __name__ == "__main__":
    if sys.argv[1:2] == [STARTER]:
        del sys.argv[1]
        start_apps()
    else:
        serve()
