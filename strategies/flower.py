"""Flower's server side: a Strategy that hands out jobs and folds their replies one by one as they arrive.

Flower's ``Strategy.start`` collects all replies of a round in a list. ``WindowedGrid`` gives it a lazy iterator instead and
keeps a window of messages outstanding, so that memory does not grow with the number of clients:

    JobStrategy(jobs, shared, settings, route, fold).start(WindowedGrid(grid), ArrayRecord(), num_rounds=1)
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from flwr.supercore.run import Run

from clients.app import WHO, decode_replies, encode_arrays, encode_jobs
from clients.errors import InputError
from clients.jobs import Job, Reply
from clients.settings import Settings

WINDOW = 32
"""Messages on their way at a time: enough to hide the link's sweeps of 0.1 s."""
PAUSE = 0.02
"""Seconds between two looks for replies."""
LOOK = 5.0
"""Seconds between two looks whether nodes are still there."""
KEPT = 10 * 365 * 86400.0
"""Seconds that a message lives: Flower's 12 hours would end those that queue behind long work; ``timeout`` ends waiting."""
GONE = (ErrorCode.NODE_UNAVAILABLE, ErrorCode.MESSAGE_UNAVAILABLE)
"""Errors that say nothing of the work: the node has gone, and the message with it."""

MESSAGE_TYPES = {
    "tune": "train.tune",
    "train": "train.tune",
    "assign": "train.tune",
    "learn_mask": "train.learn_mask",
    "score": "evaluate.score",
    "probe": "evaluate.score",
    WHO: "query.who",
}
"""Where a kind of job is sent; what it is stands in the message itself."""


def _unanswered(message: Message, reason: str, code: int = ErrorCode.REPLY_MESSAGE_UNAVAILABLE) -> Message:
    return Message(Error(code, reason), reply_to=message)


class WindowedGrid(Grid):
    """A Grid whose ``send_and_receive`` takes messages and gives replies lazily, in order of arrival.

    Args:
        grid: the Grid underneath.
        window: messages sent whose replies have not been taken yet, at most.
        check: called while waiting; raises where waiting is in vain.
        pause: seconds between two looks for replies; where each is a request to a server, looking costs it time.
    """

    def __init__(
        self, grid: Grid, window: int = WINDOW, check: Callable[[], None] = lambda: None, pause: float = PAUSE
    ) -> None:
        self.grid, self.window, self.check, self.pause = grid, window, check, pause

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        """One reply per message.

        Those that cannot be sent get an error reply. So do those whose node is not there any more, once nobody has answered
        for ``timeout`` seconds and the node has given no sign of life in as many. A node that is there may take its time.
        """
        new, sent, arrived = iter(messages), dict[str, Message](), deque[Message]()
        heard = looked = time.monotonic()
        seen: dict[int, float] = {}
        while True:
            while len(sent) + len(arrived) < self.window and (message := next(new, None)) is not None:
                ids = list(self.grid.push_messages([message]))
                if ids and ids[0]:
                    sent[ids[0]] = message
                    seen.setdefault(message.metadata.dst_node_id, time.monotonic())
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
                continue
            if timeout is not None and (now := time.monotonic()) - looked > min(LOOK, timeout / 4):
                looked = now
                seen |= dict.fromkeys(self.grid.get_node_ids(), now)
                if now - heard > timeout:
                    arrived.extend(self._given_up(sent, seen, now - timeout, timeout))
            self.check()
            time.sleep(self.pause)

    def _given_up(
        self, sent: dict[str, Message], seen: Mapping[int, float], since: float, timeout: float
    ) -> Iterator[Message]:
        """Error replies for messages to nodes that were not there since; takes their messages out of ``sent``."""
        for number, message in list(sent.items()):
            if seen[message.metadata.dst_node_id] <= since:
                del sent[number]
                reason = f"no answer in {timeout:g} s, and its node is not there any more"
                yield _unanswered(message, reason, ErrorCode.NODE_UNAVAILABLE)

    def _pull(self, sent: dict[str, Message]) -> Iterator[Message]:
        """Replies that are there now; takes their messages out of ``sent``, so that none is answered twice."""
        for reply in self.grid.pull_messages(list(sent)):
            message = sent.pop(reply.metadata.reply_to_message_id, None)
            if message is None:
                continue
            if reply.metadata.group_id == message.metadata.group_id:
                yield reply
            elif reply.has_error():
                yield _unanswered(message, str(reply.error.reason), reply.error.code)
            else:
                yield _unanswered(message, "it answers for another job")

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
    """One round in which jobs are sent as messages, each alone or with others for its node; nothing of a reply is kept.

    Args:
        jobs: taken as messages are sent.
        shared: arrays that jobs name; encoded once, sent with each message whose jobs name them.
        settings: travel with every message; as they are, or as JSON.
        route: the node that a job goes to.
        fold: what ``start`` does with each (number of the job, reply).
        together: how many such jobs a message may hold by now.
        again: told of a job whose node has gone, with its number: true if it takes care of it, so that there is no reply.
    """

    def __init__(
        self,
        jobs: Iterable[Job],
        shared: Mapping[str, np.ndarray],
        settings: Settings | str,
        route: Callable[[Job], int],
        fold: Callable[[int, Reply], None] = lambda index, reply: None,
        together: Callable[[Job], int] = lambda job: 1,
        again: Callable[[int, Job], bool] = lambda index, job: False,
    ) -> None:
        self.jobs, self.route, self.fold, self.together, self.again = jobs, route, fold, together, again
        self.shared = encode_arrays(shared)
        self.settings = settings if isinstance(settings, str) else settings.model_dump_json()
        self._sent: dict[str, list[tuple[int, Job]]] = {}

    def configure_train(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> Iterator[Message]:
        """Messages, made when they are sent; the group of one is the number of its first job."""
        waiting: dict[tuple[int, str], list[tuple[int, Job]]] = {}
        for index, job in enumerate(self.jobs):
            key = self.route(job), MESSAGE_TYPES[job.kind]
            waiting.setdefault(key, []).append((index, job))
            if len(waiting[key]) >= self.together(job):
                yield self._message(*key, waiting.pop(key))
        for key, batch in waiting.items():
            yield self._message(*key, batch)

    def _message(self, node: int, kind: str, batch: list[tuple[int, Job]]) -> Message:
        group = str(batch[0][0])
        self._sent[group] = batch
        content = encode_jobs([job for _, job in batch], self.shared, self.settings)
        return Message(content, node, kind, group_id=group, ttl=KEPT)

    def replies(self, messages: Iterable[Message]) -> Iterator[tuple[int, Reply]]:
        """What came of each job, as messages arrive; whatever is wrong with a message is the ``error`` of its jobs."""
        for message in messages:
            batch = self._sent.pop(message.metadata.group_id)
            gone = message.has_error() and message.error.code in GONE
            if gone:
                batch = [(index, job) for index, job in batch if not self.again(index, job)]
            yield from zip((index for index, _ in batch), _read(message, [job.clients for _, job in batch]), strict=True)

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


def _read(message: Message, asked: Sequence[tuple[str, ...]]) -> list[Reply]:
    """A reply for each job in a message, given whose each was."""
    if message.has_error():
        error = " ".join(str(message.error.reason).split())
        return [Reply(clients, error=f"worker: {error}") for clients in asked]
    try:
        replies = decode_replies(message.content)
    except InputError as error:
        return [Reply(clients, error=f"worker: {error}") for clients in asked]
    if len(replies) != len(asked):
        return [Reply(clients, error=f"worker: {len(replies)} replies to {len(asked)} jobs") for clients in asked]
    return [
        reply if reply.clients == clients else Reply(clients, error=f"worker: the reply is for {', '.join(reply.clients)}")
        for reply, clients in zip(replies, asked, strict=True)
    ]
