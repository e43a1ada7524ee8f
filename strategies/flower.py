"""Flower's server side: a Strategy that hands out jobs and folds their replies one by one as they arrive.

Flower's ``Strategy.start`` collects all replies of a round in a list. ``WindowedGrid`` gives it a lazy iterator instead and
keeps a window of messages outstanding, so that memory does not grow with the number of clients:

    JobStrategy(jobs, shared, settings, route, fold).start(WindowedGrid(grid), ArrayRecord(), num_rounds=1)
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from flwr.supercore.run import Run

from clients.app import decode_reply, encode_arrays, encode_job
from clients.errors import InputError
from clients.jobs import Job, Reply
from clients.settings import Settings

WINDOW = 32
"""Messages on their way at a time: enough to hide the link's sweeps of 0.1 s."""
PAUSE = 0.02
"""Seconds between two looks for replies."""

MESSAGE_TYPES = {
    "tune": "train.tune",
    "train": "train.tune",
    "assign": "train.tune",
    "learn_mask": "train.learn_mask",
    "score": "evaluate.score",
    "probe": "evaluate.score",
}
"""Where a kind of job is sent; what it is stands in the message itself."""


def _unanswered(message: Message, reason: str) -> Message:
    return Message(Error(ErrorCode.REPLY_MESSAGE_UNAVAILABLE, reason), reply_to=message)


class WindowedGrid(Grid):
    """A Grid whose ``send_and_receive`` takes messages and gives replies lazily, in order of arrival.

    Args:
        grid: the Grid underneath.
        window: messages sent whose replies have not been taken yet, at most.
        check: called while waiting; raises where waiting is in vain.
    """

    def __init__(self, grid: Grid, window: int = WINDOW, check: Callable[[], None] = lambda: None) -> None:
        self.grid, self.window, self.check = grid, window, check

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        """One reply per message. Those that are silent for ``timeout`` seconds, while nobody else answers either, get an
        error reply, and so do those that cannot be sent."""
        new, sent, arrived = iter(messages), dict[str, Message](), deque[Message]()
        heard = time.monotonic()
        while True:
            while len(sent) + len(arrived) < self.window and (message := next(new, None)) is not None:
                ids = list(self.grid.push_messages([message]))
                if ids and ids[0]:
                    sent[ids[0]] = message
                else:
                    arrived.append(_unanswered(message, "the message could not be sent"))
                del message
            if not arrived:
                if not sent:
                    return
                arrived.extend(self._pull(sent))
            if arrived:
                yield arrived.popleft()
                heard = time.monotonic()
            elif timeout is not None and time.monotonic() - heard > timeout:
                arrived.extend(_unanswered(message, f"no answer in {timeout:g} s") for message in sent.values())
                sent.clear()
            else:
                self.check()
                time.sleep(PAUSE)

    def _pull(self, sent: dict[str, Message]) -> Iterator[Message]:
        """Replies that are there now; takes their messages out of ``sent``, so that none is answered twice."""
        for reply in self.grid.pull_messages(list(sent)):
            message = sent.pop(reply.metadata.reply_to_message_id, None)
            if message is None:
                continue
            if reply.metadata.group_id == message.metadata.group_id:
                yield reply
            else:
                reason = reply.error.reason if reply.has_error() else "it answers for another job"
                yield _unanswered(message, str(reason))

    # The rest is the Grid underneath.

    def set_run(self, run: Run) -> None:
        self.grid.set_run(run)

    @property
    def run(self) -> Run:
        return self.grid.run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        return self.grid.create_message(content, message_type, dst_node_id, group_id, ttl)

    def get_node_ids(self) -> Iterable[int]:
        return self.grid.get_node_ids()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        return self.grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return self.grid.pull_messages(message_ids)


class JobStrategy(Strategy):
    """One round in which every job is a message; nothing of a reply is kept.

    Args:
        jobs: taken as messages are sent.
        shared: arrays that jobs name; encoded once, sent with each job that names them.
        settings: travel with every message.
        route: the node that a job goes to.
        fold: what ``start`` does with each (number of the job, reply).
    """

    def __init__(
        self,
        jobs: Iterable[Job],
        shared: Mapping[str, np.ndarray],
        settings: Settings,
        route: Callable[[Job], int],
        fold: Callable[[int, Reply], None] = lambda index, reply: None,
    ) -> None:
        self.jobs, self.route, self.fold = jobs, route, fold
        self.shared, self.settings = encode_arrays(shared), settings.model_dump_json()
        self._sent: dict[int, tuple[str, ...]] = {}

    def configure_train(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> Iterator[Message]:
        """A message per job, made when it is sent; its group is the number of the job."""
        for index, job in enumerate(self.jobs):
            self._sent[index] = job.clients
            content = encode_job(job, self.shared, self.settings)
            yield Message(content, self.route(job), MESSAGE_TYPES[job.kind], group_id=str(index))

    def replies(self, messages: Iterable[Message]) -> Iterator[tuple[int, Reply]]:
        """What came of each job, as messages arrive; whatever is wrong with a message is the reply's ``error``."""
        for message in messages:
            index = int(message.metadata.group_id)
            yield index, _read(message, self._sent.pop(index))

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Fold each reply and let go of it."""
        for index, reply in self.replies(replies):
            self.fold(index, reply)
        return None, None

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Nothing: evaluation is a kind of job."""
        return ()

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Nothing."""
        return None

    def summary(self) -> None:
        """Nothing: the ledger says what happened."""


def _read(message: Message, clients: tuple[str, ...]) -> Reply:
    if message.has_error():
        return Reply(clients, error=f"worker: {' '.join(str(message.error.reason).split())}")
    try:
        reply = decode_reply(message.content)
    except InputError as error:
        return Reply(clients, error=f"worker: {error}")
    if reply.clients != clients:
        return Reply(clients, error=f"worker: the reply is for {', '.join(reply.clients)}")
    return reply
