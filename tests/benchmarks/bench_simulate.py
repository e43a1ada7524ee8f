"""A year of 2.4 million deletion requests to a service of a million clients; the target is 60 s and 2 GB on two cores.

    python -m tests.benchmarks.bench_simulate [requests a year] [clients]

First the queue alone, as arrays and as the heap that it is held against, on the same releases, and a tenth of them as
processes of SimPy. Then the whole command but its imports: seven strategies, nine release plans, the fewest workers of
each; the base model was pretrained before.
"""

import json
import resource
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

import numpy as np
import simpy

from sim.service import simulation
from sim.stream.arrivals import generator
from sim.stream.clock import DAY, in_turn, queue

SCENARIO = {
    "name": "million",
    "data": {"source": "fiction", "clients": 8, "pairs": 3, "public_authors": 8},
    "model": {"max_length": 128, "tiny": {"layers": 1, "width": 16, "heads": 2, "vocabulary": 300, "steps": 3, "batch": 4}},
    "tuning": {"steps": 20},
    "strategies": [
        "local",
        "average",
        {"sift_masks": {"keep": 0.5}},
        "emr",
        {"clamu": {"clusters": 8, "steps": 15}},
        {"sisa": {"shards": 20}},
        "central",
    ],
    "workers": {"kind": "inline", "count": 2},
}


def clocks(requests: int) -> None:
    """Releases at once: one for each request."""
    rng = generator(7, "bench")
    due = np.sort(rng.random(requests) * 365)
    lengths = rng.random(requests) * 700 / requests
    started = time.perf_counter()
    starts, _ = in_turn(due, lengths)
    arrays = time.perf_counter() - started
    started = time.perf_counter()
    plain, _ = queue(due.tolist(), lengths.tolist(), 1)
    heap = time.perf_counter() - started
    apart = float(np.abs(starts - np.array(plain)).max()) * DAY
    ratio = heap / arrays
    print(f"a queue of {requests:,} releases: arrays {arrays:.2f} s, heap {heap:.2f} s, {ratio:.0f} x; {apart:.1e} s apart")


def processes(requests: int, workers: int) -> None:
    """The same queue as SimPy has it: a process for each release."""
    rng = generator(7, "bench")
    due = np.sort(rng.random(requests) * 365).tolist()
    lengths = (rng.random(requests) * 700 * workers / requests).tolist()
    started = time.perf_counter()
    _, ends = queue(due, lengths, workers)
    heap = time.perf_counter() - started
    environment = simpy.Environment()
    free, published = simpy.Resource(environment, workers), [0.0] * requests

    def release(number: int) -> Generator[simpy.Event]:
        yield environment.timeout(due[number])
        with free.request() as mine:
            yield mine
            yield environment.timeout(lengths[number])
        published[number] = environment.now

    started = time.perf_counter()
    for number in range(requests):
        environment.process(release(number))
    environment.run()
    taken = time.perf_counter() - started
    apart = max(abs(one - other) for one, other in zip(published, ends, strict=True))
    ratio = f"heap {heap:.2f} s, SimPy {taken:.2f} s, {taken / heap:.0f} x"
    print(f"{requests:,} releases on {workers} workers: {ratio}; {apart:.1e} days apart")


def main() -> None:
    requests, clients = (int(each) for each in [*sys.argv[1:], "2447707", "1000000"][:2])
    clocks(requests)
    for workers in (1, 4):
        processes(requests // 10, workers)
    stream = {
        "population": clients,
        "arrivals": {"name": "poisson", "per_year": requests},
        "examples": 1.0,
        "release": {"days": 10},
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "million.yaml"
        path.write_text(json.dumps(SCENARIO | {"stream": stream}), encoding="utf-8")
        simulation.machine_of(simulation.points(str(path), [])[0][1], None)  # the base model is pretrained
        started = time.perf_counter()
        content = simulation.simulate(str(path), [], None)
        simulation.write(content, Path(folder) / "out")
        seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    drawn = content["strategies"]["average"]["requests"]
    print(f"{drawn:,} requests of {clients:,} clients: {seconds:.1f} s, at most {peak / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
