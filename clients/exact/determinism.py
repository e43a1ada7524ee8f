"""What makes two runs of the same recipe give the same bits."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from typing import Any

# cuBLAS is only deterministic with a fixed workspace, which has to be set before CUDA starts.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Threads that wait must not burn the cores of the workers beside them.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

THREADS = 1
"""Threads of every piece of client work: the order of floating sums depends on it, so it belongs to the recipe."""


@contextmanager
def deterministic(threads: int = THREADS) -> Iterator[None]:
    """Deterministic kernels and a fixed thread count inside the block; the caller's settings come back after it."""
    import torch

    how: Any = torch.utils.deterministic  # a module that sets its properties on itself
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), how.fill_uninitialized_memory
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    how.fill_uninitialized_memory = False  # a twelfth of the time; no kernel reads what it has not written
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
        how.fill_uninitialized_memory = before[2]


def environment(device: str) -> dict[str, Any]:
    """The part of a recipe that is neither data nor setting: device kind, threads and library versions."""
    import torch

    kind = torch.cuda.get_device_name() if device == "cuda" else torch.backends.cpu.get_cpu_capability()
    return {
        "device": device,
        "kind": kind,
        "threads": THREADS,
        "torch": torch.__version__,
        "transformers": _version("transformers"),
    }


@cache
def _version(package: str) -> str:
    """Read once: looking it up takes a hundredth of a small client's tuning."""
    return version(package)
