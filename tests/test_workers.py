"""Workers: every transport gives the same bits, survives what fails, and holds a window of messages at most."""

import os
import signal
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Error, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.supercore.task_identity import TaskIdentity
from pydantic import ValidationError

from clients.app import (
    WHO,
    decode_jobs,
    decode_replies,
    do,
    encode_array,
    encode_arrays,
    encode_jobs,
    encode_replies,
)
from clients.data.source import ShardRef
from clients.errors import InputError
from clients.exact.exact_sum import ExactSum
from clients.jobs import Job, Reply, assign_job, mask_job, perform, probe_job, score_job, tune_job
from clients.settings import Settings
from clients.work.contributions import SUM
from clients.work.served import Masked, Own
from clients.work.site import Site, open_site
from clients.work.tuning import grid_of
from sim.scenario.workers import WorkersSpec
from sim.workers.grid import GridWorkers
from sim.workers.opening import one_ray, open_workers
from sim.workers.sizes import Sizes
from sim.workers.workers import InlineWorkers, Workers, cohorts, job_bytes, reply_bytes
from strategies.flower import JobStrategy, WindowedGrid

SETTINGS = Settings.model_validate(
    {
        "data": {"source": "fiction", "clients": 8, "pairs": 3, "public_authors": 8},
        "model": {
            "tiny": {"layers": 1, "width": 16, "heads": 2, "vocabulary": 300, "steps": 3, "batch": 4},
            "max_length": 128,
        },
        "tuning": {"steps": 2},
    }
)
GRID = grid_of(SETTINGS.tuning, 8)


@pytest.fixture(scope="module")
def inline(cache: Path) -> Iterator[Workers]:
    with open_workers(WorkersSpec(), "inline", SETTINGS) as workers:
        yield workers


@pytest.fixture(scope="module")
def ray_here(inline: Workers) -> Iterator[None]:
    with one_ray(WorkersSpec(count=3)):  # room for the pool, the nodes and one worker more; it inherits the cache
        yield


@pytest.fixture(scope="module")
def pool(ray_here: None) -> Iterator[Workers]:
    with open_workers(WorkersSpec(), "ray", SETTINGS) as workers:
        yield workers


@pytest.fixture(scope="module")
def nodes(ray_here: None) -> Iterator[Workers]:
    with open_workers(WorkersSpec(), "flower", SETTINGS) as workers:
        yield workers


@pytest.fixture(scope="module")
def clients(inline: InlineWorkers) -> tuple[str, ...]:
    return inline.site.manifest.clients


@pytest.fixture(scope="module")
def direction(inline: InlineWorkers) -> np.ndarray:
    return np.random.default_rng(1).normal(0, 1e-3, inline.site.model.layout.size).astype(np.float32)


def tuned(workers: Workers, clients: tuple[str, ...], size: int) -> tuple[str, dict[str, str]]:
    """Digest of the sum over all clients, and each client's digest."""
    jobs = [tune_job(group, "plain", [SUM]) for group in cohorts(clients, size)]
    total, digests = None, {}
    for index, reply in workers.run(jobs):
        assert reply.error is None
        assert reply.clients == jobs[index].clients
        total = total or ExactSum(reply.arrays["sum"].size, GRID)
        total.merge(reply.arrays["sum"], len(reply.clients))
        digests |= {client: t["digest"] for client, t in reply.facts["tunings"].items()}
    assert total is not None
    return total.digest(), digests


@pytest.fixture(scope="module")
def reference(inline: Workers, clients: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    return tuned(inline, clients, 4)


def without_time(reply: Reply) -> dict[str, Any]:
    return {name: fact for name, fact in reply.facts.items() if name != "seconds"}


@pytest.mark.parametrize(
    ("size", "kind"),
    [
        pytest.param(size, kind, marks=[pytest.mark.slow] if size == 1 and kind != "inline" else [])
        for size in (1, 4)
        for kind in ("inline", "pool", "nodes")
    ],
)
def test_sums_are_bit_equal(
    kind: str, size: int, clients: tuple[str, ...], reference: object, request: pytest.FixtureRequest
) -> None:
    assert tuned(request.getfixturevalue(kind), clients, size) == reference


@pytest.mark.slow  # in test_transports.py one worker of each kind gives the same state
@pytest.mark.parametrize("kind", ["ray", "flower"])
def test_one_worker_gives_the_same_sum(kind: str, clients: tuple[str, ...], reference: object, ray_here: None) -> None:
    with open_workers(WorkersSpec(count=1, cpus=0.5, cohort=3), kind, SETTINGS) as workers:  # type: ignore[arg-type]
        assert tuned(workers, clients, 3) == reference


@pytest.mark.parametrize("kind", ["pool", "nodes"])
def test_masks_and_scores_are_equal(
    kind: str, inline: Workers, clients: tuple[str, ...], direction: np.ndarray, request: pytest.FixtureRequest
) -> None:
    packed = np.packbits(direction > 0, bitorder="little")
    jobs = [
        mask_job(clients[:2], "mean", 1.0, steps=2, lr=0.1),
        score_job([(clients[2], Masked("mean", mask=packed, scale=0.5)), (clients[3], Masked())]),
        score_job([(clients[4], Own(direction))], scales=[0.8, 1.2]),
    ]
    expected = dict(inline.run(jobs, {"mean": direction}))
    assert all(reply.error is None for reply in expected.values())
    for index, reply in request.getfixturevalue(kind).run(jobs, {"mean": direction}):
        assert reply.error is None
        assert without_time(reply) == without_time(expected[index])
        assert set(reply.arrays) == set(expected[index].arrays)
        for name, array in reply.arrays.items():
            np.testing.assert_array_equal(array, expected[index].arrays[name])


@pytest.mark.parametrize("kind", ["inline", "pool", "nodes"])
def test_an_unknown_client_is_an_error_and_the_run_goes_on(
    kind: str, clients: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    jobs = [tune_job([client], "plain", []) for client in ("nobody", *clients[:2])]
    replies = dict(request.getfixturevalue(kind).run(jobs))
    assert "nobody" in (replies[0].error or "")
    assert replies[1].error is replies[2].error is None


def pids(pool: Workers) -> list[int]:
    import ray

    def pid(actor: object) -> int:
        return os.getpid()

    return [ray.get(actor.__ray_call__.remote(pid)) for actor in pool.actors]  # type: ignore[attr-defined]


def test_a_killed_actor_is_replaced(pool: Workers, clients: tuple[str, ...], reference: object) -> None:
    victim = pids(pool)[0]
    taken = 0

    def jobs() -> Iterator[Job]:
        nonlocal taken
        for group in cohorts(clients, 1):
            if (taken := taken + 1) == 5:
                os.kill(victim, signal.SIGKILL)
            yield tune_job(group, "plain", [SUM])

    total, digests = None, {}
    for _, reply in pool.run(jobs()):
        assert reply.error is None
        total = total or ExactSum(reply.arrays["sum"].size, GRID)
        total.merge(reply.arrays["sum"], 1)
        digests |= {client: t["digest"] for client, t in reply.facts["tunings"].items()}
    assert total is not None
    assert (total.digest(), digests) == reference
    assert victim not in pids(pool)


def test_a_round_may_be_left_early(pool: Workers, clients: tuple[str, ...], reference: object) -> None:
    run = pool.run(tune_job([client], "plain", [SUM]) for client in clients)
    next(run)
    run.close()  # type: ignore[attr-defined]
    assert tuned(pool, clients, 4) == reference


def test_too_many_workers_are_refused(ray_here: None) -> None:
    with (
        pytest.raises(InputError, match=r"1000 workers of 1 CPUs .* lower workers\.count"),
        open_workers(WorkersSpec(count=1000), "ray", SETTINGS),
    ):
        pass


ARRAYS = {
    "fp32": np.array([[1.5, -0.0, np.nan], [np.inf, 1e-45, 3]], dtype=np.float32),
    "int64": np.array([2**62, -1, 0]),
    "uint8": np.arange(256, dtype=np.uint8),
    "bf16": torch.tensor([1.0, -2.5, float("nan")], dtype=torch.bfloat16).view(torch.int16).numpy(),
    "bool": np.array([True, False]),
    "fp16 strided": np.arange(12, dtype=np.float16).reshape(3, 4).T,
    "empty": np.empty((0, 3), dtype=np.int32),
    "scalar": np.array(7.0),
}


def same_bits(sent: dict[str, np.ndarray], got: dict[str, np.ndarray]) -> None:
    assert list(sent) == list(got)
    for name, array in sent.items():
        assert (got[name].dtype, got[name].shape) == (array.dtype, array.shape), name
        assert got[name].tobytes() == array.tobytes(), name


def test_jobs_and_replies_survive_a_message() -> None:
    job = Job("score", ("a", "b"), {"x": [1, 0.1, None, "é"]}, ARRAYS, ("mean",))
    shared = {"mean": ARRAYS["fp32"], "other": ARRAYS["int64"]}
    (got,), named, settings = decode_jobs(encode_jobs([job], encode_arrays(shared), SETTINGS.model_dump_json()))
    assert (got.kind, got.clients, got.facts, got.shared) == (job.kind, job.clients, job.facts, job.shared)
    assert Settings.model_validate_json(settings) == SETTINGS
    same_bits(job.arrays, got.arrays)
    same_bits({"mean": shared["mean"]}, named)
    (reply,) = decode_replies(encode_replies([Reply(("a",), {"loss": 0.1}, ARRAYS, "bad")]))
    assert (reply.clients, reply.facts, reply.error) == (("a",), {"loss": 0.1}, "bad")
    same_bits(ARRAYS, reply.arrays)


def test_flower_reads_our_arrays_and_objects_are_refused() -> None:
    np.testing.assert_array_equal(encode_array(ARRAYS["fp16 strided"]).numpy(), ARRAYS["fp16 strided"])
    with pytest.raises(InputError, match="do not travel"):
        encode_array(np.array([object()]))
    content = encode_replies([Reply(("a",), {}, {"sum": ARRAYS["int64"]})])
    content.array_records["arrays"]["0/sum"].data = content.array_records["arrays"]["0/sum"].data[:-1]
    with pytest.raises(InputError, match="damaged"):
        decode_replies(content)


class FakeGrid:
    """Answers in reverse order and counts what is outstanding; some never, some for another client."""

    def __init__(self, silent: Iterable[int] = (), refused: Iterable[int] = (), swapped: Iterable[int] = ()) -> None:
        self.silent, self.refused, self.swapped = set(silent), set(refused), set(swapped)
        self.there: dict[str, Message] = {}
        self.most = 0
        self.nodes = {1}

    def get_node_ids(self) -> set[int]:
        return self.nodes

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        ids = []
        for message in messages:
            group = int(message.metadata.group_id)
            if group in self.refused:
                continue
            message.metadata.__dict__["_message_id"] = str(group)
            self.there[str(group)] = message
            ids.append(str(group))
        self.most = max(self.most, len(self.there))
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        ready = [i for i in reversed(list(message_ids)) if int(i) not in self.silent and i in self.there]
        return [self._answer(self.there.pop(i)) for i in ready[:5]]

    def _answer(self, message: Message) -> Message:
        (job,), _, _ = decode_jobs(message.content)
        clients = ("someone else",) if int(message.metadata.group_id) in self.swapped else job.clients
        return Message(encode_replies([Reply(clients, job.facts)]), reply_to=message)


@pytest.fixture
def identity() -> Iterator[None]:
    """Messages can only be made inside a Flower run."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_run_id", "_node_id", "_task_id"):
            patch.setattr(TaskIdentity, name, 1)
        yield


def started(grid: FakeGrid, count: int, window: int) -> dict[int, Reply]:
    """What Flower's own ``Strategy.start`` folds, with a check that jobs are taken no further than the window."""
    folded: dict[int, Reply] = {}

    def jobs() -> Iterator[Job]:
        for index in range(count):
            assert index - len(folded) <= window
            yield Job("tune", (f"c{index}",), {"index": index})

    def fold(index: int, reply: Reply) -> None:
        assert index not in folded
        folded[index] = reply

    strategy = JobStrategy(jobs(), {}, SETTINGS, lambda job: 1, fold)
    strategy.start(WindowedGrid(grid, window), ArrayRecord(), num_rounds=1, timeout=0.1)  # type: ignore[arg-type]
    return folded


def test_folding_is_lazy_and_holds_a_window(identity: None) -> None:
    grid = FakeGrid()
    folded = started(grid, 100, window=7)
    assert grid.most == 7
    assert {index: reply.facts["index"] for index, reply in folded.items()} == {i: i for i in range(100)}


def test_refused_and_wrong_answers_and_those_of_nodes_that_are_gone_are_errors(identity: None) -> None:
    grid = FakeGrid(silent=[3], refused=[5], swapped=[8])
    grid.nodes = set()
    folded = started(grid, 20, window=4)
    assert sorted(folded) == list(range(20))
    assert {i for i, reply in folded.items() if reply.error} == {3, 5, 8}
    assert folded[3].error == "worker: no answer in 0.1 s, and its node is not there any more"
    assert "could not be sent" in str(folded[5].error)
    assert "someone else" in str(folded[8].error)


def test_a_node_that_is_there_may_take_longer_than_the_timeout(identity: None) -> None:
    grid = FakeGrid(silent=[3])
    threading.Timer(0.5, grid.silent.clear).start()
    folded = started(grid, 5, window=4)  # the timeout is 0.1 s
    assert all(reply.error is None for reply in folded.values())


def test_messages_outlive_any_queue(identity: None) -> None:
    (message,) = sent_by([Job("tune", ("a",), {})], 1)
    assert message.metadata.ttl > 365 * 86400


def sent_by(jobs: list[Job], together: int) -> list[Message]:
    """The messages that a strategy makes; clients called a... live on node 1, the others on node 2."""
    strategy = JobStrategy(jobs, {}, SETTINGS, lambda job: 1 if job.clients[0] < "b" else 2, together=lambda job: together)
    return list(strategy.configure_train(1, ArrayRecord(), ConfigRecord(), None))  # type: ignore[arg-type]


def test_jobs_for_a_node_travel_together(identity: None) -> None:
    jobs = [Job("tune", (client,), {}) for client in ("a1", "b1", "a2", "a3", "b2")] + [Job("score", ("a4",), {})]
    messages = sent_by(jobs, 2)
    sent = [
        (
            message.metadata.dst_node_id,
            message.metadata.message_type,
            [job.clients[0] for job in decode_jobs(message.content)[0]],
        )
        for message in messages
    ]
    assert sent == [
        (1, "train.tune", ["a1", "a2"]),
        (2, "train.tune", ["b1", "b2"]),
        (1, "train.tune", ["a3"]),
        (1, "evaluate.score", ["a4"]),
    ]


def test_as_many_jobs_as_keep_a_message_short_and_small() -> None:
    sizes = Sizes()
    assert sizes.together("tune") == 1
    sizes.seen("tune", Reply(("a",), {"seconds": 4.0}, {"sum": np.zeros(1000)}))
    assert sizes.together("tune") == 5  # 20 s of work
    sizes.seen("tune", Reply(("a",), {"seconds": 1.0}, {"sum": np.zeros(16_000_000, dtype=np.int64)}))
    assert sizes.together("tune") == 2  # 256 MB of arrays
    assert sizes.together("score") == 1
    sizes.seen("score", Reply(("a",), {"seconds": 0.0}))
    assert sizes.together("score") == 64
    sizes.seen("probe", Reply(("a",), error="bad"))
    assert sizes.together("probe") == 1


class Nodes(FakeGrid):
    """Nodes 1 and 2, one with the data of some clients and one with those of the rest; does jobs really."""

    def __init__(self, site: Site, holds: dict[int, frozenset[str] | None]) -> None:
        super().__init__()
        self.site, self.holds, self.nodes, self.messages = site, holds, set(holds), 0

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        return [self._answer(self.there.pop(i)) for i in list(message_ids)[:1]]

    def _answer(self, message: Message) -> Message:
        node = message.metadata.dst_node_id
        if node not in self.nodes:
            return Message(Error(ErrorCode.NODE_UNAVAILABLE, "no heartbeat"), reply_to=message)
        self.messages += 1
        jobs, shared, _ = decode_jobs(message.content)
        return Message(encode_replies([self._reply(node, job, shared) for job in jobs]), reply_to=message)

    def _reply(self, node: int, job: Job, shared: dict[str, np.ndarray]) -> Reply:
        held = self.holds[node]
        if job.kind == WHO:
            return Reply((), {"clients": None if held is None else sorted(held)})
        assert held is None or held.issuperset(job.refs[c].client if c in job.refs else c for c in job.clients)
        return perform(self.site, job, {name: shared[name] for name in job.shared})


def over(grid: Nodes) -> GridWorkers:
    return GridWorkers(grid, SETTINGS, timeout=0.1, asked={})  # type: ignore[arg-type]


def test_a_job_goes_to_the_node_that_has_the_data(
    identity: None, inline: InlineWorkers, clients: tuple[str, ...], reference: object
) -> None:
    """Whichever order nodes and clients have; parts of jobs whose clients live apart add up to the same bits."""
    for mine in (clients[::2], clients[4:], (clients[0], clients[7])):
        grid = Nodes(inline.site, {2: frozenset(mine), 1: frozenset(clients) - set(mine)})
        assert tuned(over(grid), clients, 1) == reference
        assert tuned(over(grid), clients, 4) == reference


def test_jobs_over_nodes_that_hold_parts_are_the_same_as_inline(
    identity: None, inline: InlineWorkers, clients: tuple[str, ...], direction: np.ndarray
) -> None:
    packed = np.packbits(direction > 0, bitorder="little")
    part = ShardRef(client=clients[3], only=frozenset(e.key for e in inline.site.shard(clients[3]).train[:2]))
    served = [(clients[2], Masked("mean", mask=packed, scale=0.5)), (clients[3], Masked()), (clients[4], Own(direction))]
    jobs = [
        score_job(served, scales=[0.8, 1.2]),
        probe_job(served),
        assign_job(clients[1:4], 2),
        mask_job(clients[::2][:2], "mean", 1.0, steps=2, lr=0.1),
        replace(tune_job(["part", clients[0]], "plain", [SUM]), refs={"part": part}),
    ]
    expected = dict(inline.run(jobs, {"mean": direction}))
    assert all(reply.error is None for reply in expected.values())
    grid = Nodes(inline.site, {5: frozenset(clients[::2]), 3: frozenset(clients[1::2])})
    found = dict(over(grid).run(jobs, {"mean": direction}))
    assert sorted(found) == list(range(len(jobs)))
    for index, reply in found.items():
        assert reply.error is None
        assert without_time(reply) == without_time(expected[index])
        assert set(reply.arrays) == set(expected[index].arrays)
        for name, array in reply.arrays.items():
            np.testing.assert_array_equal(array, expected[index].arrays[name])


def test_what_no_node_can_do_is_an_error_reply(
    identity: None, inline: InlineWorkers, clients: tuple[str, ...], direction: np.ndarray
) -> None:
    grid = Nodes(inline.site, {1: frozenset(clients[:3]), 2: frozenset(clients[3:6])})
    workers = over(grid)
    jobs = [
        tune_job(clients[5:8], "plain", [SUM]),
        mask_job(clients[2:4], "mean", 1.0, steps=1, lr=0.1),
        tune_job(clients[:1], "plain", [SUM]),
    ]
    replies = dict(workers.run(jobs, {"mean": direction}))
    assert replies[0].error == f"worker: no node holds the data of {clients[6]}, {clients[7]}"
    told = f"worker: learn_mask needs the data of {clients[2]}, {clients[3]} at one node, and they lie at 2"
    assert replies[1].error == told
    assert replies[2].error is None
    assert workers.places.nowhere([1, 2]) == list(clients[6:])


def test_jobs_of_a_node_that_goes_are_done_by_another(
    identity: None, inline: InlineWorkers, clients: tuple[str, ...], reference: object
) -> None:
    grid = Nodes(inline.site, {1: None, 2: None, 3: frozenset(clients[:1])})
    workers = over(grid)
    workers.nodes()
    grid.get_node_ids = lambda: {1, 2, 3} if grid.messages < 5 else {1}  # type: ignore[method-assign]
    grid.nodes = {1}
    assert tuned(workers, clients, 1) == reference


def test_jobs_that_only_a_node_that_is_gone_could_do_fail(
    identity: None, inline: InlineWorkers, clients: tuple[str, ...]
) -> None:
    grid = Nodes(inline.site, {1: frozenset(clients[:4]), 2: frozenset(clients[4:])})
    workers = over(grid)
    workers.nodes()
    there = iter([{1, 2}])
    grid.get_node_ids = lambda: next(there, {1})  # type: ignore[method-assign]
    grid.nodes = {1}
    replies = dict(workers.run([tune_job([client], "plain", [SUM]) for client in (clients[0], clients[5])]))
    assert replies[0].error is None
    assert replies[1].error == f"worker: its node has gone; no node holds the data of {clients[5]}"


def test_nodes_are_asked_once(identity: None, inline: InlineWorkers, clients: tuple[str, ...]) -> None:
    grid = Nodes(inline.site, {1: None})
    workers = over(grid)
    jobs = [tune_job([client], "plain", [SUM]) for client in clients]
    assert all(reply.error is None for _, reply in workers.run(jobs))
    first = grid.messages
    assert all(reply.error is None for _, reply in workers.run(jobs))
    # asked; two jobs alone, and the rest once it is known how large such replies are; then all together
    assert (first, grid.messages - first) == (1 + 2 + 1, 1)


def test_the_client_app_answers_a_message(identity: None, inline: Workers, clients: tuple[str, ...]) -> None:
    content = encode_jobs([tune_job(clients[:1], "plain", [SUM])], ArrayRecord(), SETTINGS.model_dump_json())
    context = Context(1, 1, node_config={}, state=RecordDict(), run_config={})
    (reply,) = decode_replies(do(Message(content, 1, "train.tune"), context).content)
    (_, expected), *_ = inline.run([tune_job(clients[:1], "plain", [SUM])])
    assert without_time(reply) == without_time(expected)
    same_bits(expected.arrays, reply.arrays)


def test_cohorts_and_byte_counts() -> None:
    assert cohorts("abcde", 2) == [("a", "b"), ("c", "d"), ("e",)]
    shared = {"mean": np.zeros(10, dtype=np.float32), "other": np.zeros(99)}
    job = Job("score", ("a",), {"x": 1}, {"m": np.zeros(3, dtype=np.uint8)}, ("mean",))
    assert job_bytes(job, shared) == 3 + 40 + len('{"x": 1}')
    assert reply_bytes(Reply(("a",), {}, {"s": np.zeros(2, dtype=np.int64)})) == 16 + 2


def test_kind_sets_both() -> None:
    spec = WorkersSpec.model_validate({"kind": "inline", "count": 3})
    assert (spec.learn, spec.stream, spec.count) == ("inline", "inline", 3)
    with pytest.raises(ValidationError, match="leave out either it or stream"):
        WorkersSpec.model_validate({"kind": "inline", "stream": "ray"})
    with pytest.raises(ValidationError):
        WorkersSpec.model_validate({"kind": "dask"})


def test_a_site_is_opened_once_per_process(inline: InlineWorkers) -> None:
    assert open_site(SETTINGS) is inline.site
