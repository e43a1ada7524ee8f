"""Memory, disk and cores of this machine and of this process, as far as the system tells; sizes in bytes."""

import os
import resource
import shutil
import sys
from pathlib import Path


def held() -> int:
    """Memory that this process holds now; where only the most it ever held is known, that."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return peak()
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak() -> int:
    """The most memory that this process has held."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def memory_free() -> int:
    """Memory that can still be taken, a container's limit included; where the system does not tell, all there is."""
    free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
        group = Path("/sys/fs/cgroup")
        limit, used = ((group / f"memory.{name}").read_text().strip() for name in ("max", "current"))
        cached = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())["file"]
    except (OSError, StopIteration, KeyError):
        return free
    return free if limit == "max" else min(free, int(limit) - int(used) + int(cached))


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def disk_free(folder: Path) -> tuple[int, int]:
    """The number of the disk that a folder lies on, or will lie on, and its free bytes."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return there.stat().st_dev, shutil.disk_usage(there).free
