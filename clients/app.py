"""The Flower ClientApp: a client's side of the jobs, and how jobs and replies are written as Flower messages.

A message holds one or several jobs and their settings, so a node needs no configuration; a process opens data and base
model once. A node that has data of its own names their folder or file as ``data-source`` in its node config
(``flower-supernode --node-config 'data-source="/data/mine.jsonl"'``), and serves the clients found there; asked ``who``, it
names them. Facts travel as JSON, arrays bit for bit in the .npy form that Flower's own ``Array.numpy()`` reads. Decoding
makes views of the message's bytes: the arrays are read-only.

A SuperNode starts this app in a new process for every message, so what takes long to import is imported where it is used: a
message is passed on to a process that stays (``clients.warm``).
"""

import json
import math
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from clients import warm
from clients.errors import InputError

if TYPE_CHECKING:
    from clients.jobs import Job, Reply
    from clients.settings import Settings

NUMPY = "numpy.ndarray"
DATA_SOURCE = "data-source"
"""Key of a node's config: where its own data are."""
WARM_SECONDS = "warm-seconds"
"""Key of a node's config: how long a process stays after the last message; 0: none does."""
WARM = 600
SHORT = 20_000
"""Characters of settings that travel within the record of the jobs; those with a population are longer."""
WHO = "who"
"""The job that every node can do: to name the clients whose data it holds, or nobody (None) if it can have everybody's."""
WAKE = "wake"
"""The job of importing what jobs need, before there is one."""

# -- arrays -----------------------------------------------------------------------------------------------------------


def encode_array(array: np.ndarray) -> Array:
    """Write an array with one copy.

    Raises:
        InputError: the values have no plain binary form (objects, structures).
    """
    if array.dtype.kind not in "biufc":
        raise InputError(f"arrays of {array.dtype} do not travel; send a view as integers")
    values = np.asarray(array, order="C")
    header = BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(values))
    data = b"".join((header.getvalue(), values.reshape(-1).view(np.uint8).data))
    return Array(dtype=str(values.dtype), shape=tuple(values.shape), stype=NUMPY, data=data)


def decode_array(array: Array) -> np.ndarray:
    """A read-only view of a message's bytes.

    Raises:
        InputError: not an array that ``encode_array`` wrote.
    """
    try:
        data = BytesIO(array.data)
        if array.stype != NUMPY or np.lib.format.read_magic(data) != (1, 0):
            raise InputError(f"cannot read an array of kind {array.stype}")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(data)
        if fortran or dtype.kind not in "biufc":
            raise InputError(f"cannot read an array of {dtype} in this order")
        flat = np.frombuffer(array.data, dtype, math.prod(shape), data.tell()) if math.prod(shape) else np.empty(0, dtype)
        return flat.reshape(shape)
    except ValueError as error:
        raise InputError(f"damaged array: {error}") from error


def encode_arrays(arrays: Mapping[str, np.ndarray]) -> ArrayRecord:
    """Arrays under their names."""
    return ArrayRecord({name: encode_array(array) for name, array in arrays.items()})


def decode_arrays(record: ArrayRecord) -> dict[str, np.ndarray]:
    """The arrays of a record, as read-only views."""
    return {name: decode_array(array) for name, array in record.items()}


# -- jobs and replies -------------------------------------------------------------------------------------------------


def encode_jobs(jobs: Sequence["Job"], shared: ArrayRecord, settings: str) -> RecordDict:
    """A message's content.

    Args:
        shared: at least the shared arrays that the jobs name, already encoded: many messages hold the same bytes.
        settings: as JSON; long ones get a record of their own, which Flower keeps once for all messages that hold it.
    """
    named = ArrayRecord({name: shared[name] for name in sorted({name for job in jobs for name in job.shared})})
    arrays = {f"{number}/{name}": array for number, job in enumerate(jobs) for name, array in job.arrays.items()}
    configs = {"jobs": ConfigRecord({"jobs": json.dumps([_told(job) for job in jobs])})}
    if len(settings) < SHORT:
        configs["jobs"]["settings"] = settings
    else:
        configs["settings"] = ConfigRecord({"settings": settings})
    return _records(configs, arrays=encode_arrays(arrays), shared=named)


def _records(configs: Mapping[str, ConfigRecord], **arrays: ArrayRecord) -> RecordDict:
    """Records as one, without those that hold nothing: Flower sends every record and array by itself."""
    content = RecordDict()
    content.config_records.update(configs)
    content.array_records.update({name: record for name, record in arrays.items() if record})
    return content


def _arrays(content: RecordDict, name: str) -> dict[str, np.ndarray]:
    record = content.array_records.get(name)
    return {} if record is None else decode_arrays(record)


def _told(job: "Job") -> dict[str, Any]:
    refs = {name: ref.model_dump(mode="json") for name, ref in job.refs.items()}
    about = {"kind": job.kind, "clients": job.clients, "facts": job.facts, "shared": job.shared}
    return about | ({"refs": refs} if refs else {})


def decode_jobs(content: RecordDict) -> tuple[list["Job"], dict[str, np.ndarray], str]:
    """The jobs, the shared arrays they read, and the settings as JSON."""
    from clients.data.source import ShardRef
    from clients.jobs import Job

    told = json.loads(str(content.config_records["jobs"]["jobs"]))
    arrays = _by_number(_arrays(content, "arrays"), len(told))
    jobs = []
    for about, mine in zip(told, arrays, strict=True):
        refs = {name: ShardRef.model_validate(ref) for name, ref in about.get("refs", {}).items()}
        jobs.append(Job(about["kind"], tuple(about["clients"]), about["facts"], mine, tuple(about["shared"]), refs))
    configs = content.config_records
    settings = str(configs.get("settings", configs["jobs"])["settings"])
    return jobs, _arrays(content, "shared"), settings


def wake_up() -> RecordDict:
    """The content of a message on which a node gets ready; made without importing what jobs need."""
    about = {"kind": WAKE, "clients": [], "facts": {}, "shared": []}
    return RecordDict({"jobs": ConfigRecord({"jobs": json.dumps([about]), "settings": ""})})


def encode_replies(replies: Sequence["Reply"]) -> RecordDict:
    """The content of the answer to ``encode_jobs``, in the order of the jobs."""
    about = [{"clients": list(reply.clients), "facts": reply.facts, "error": reply.error} for reply in replies]
    arrays = {f"{number}/{name}": array for number, reply in enumerate(replies) for name, array in reply.arrays.items()}
    return _records({"replies": ConfigRecord({"replies": json.dumps(about)})}, arrays=encode_arrays(arrays))


def decode_replies(content: RecordDict) -> list["Reply"]:
    """The replies in a message.

    Raises:
        InputError: they are not what ``encode_replies`` wrote.
    """
    from clients.jobs import Reply

    try:
        told = json.loads(str(content.config_records["replies"]["replies"]))
        arrays = _by_number(_arrays(content, "arrays"), len(told))
        return [
            Reply(tuple(about["clients"]), dict(about["facts"]), mine, about["error"])
            for about, mine in zip(told, arrays, strict=True)
        ]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"not a reply to a job ({type(error).__name__}: {error})") from error


def _by_number(arrays: Mapping[str, np.ndarray], count: int) -> list[dict[str, np.ndarray]]:
    found: list[dict[str, np.ndarray]] = [{} for _ in range(count)]
    for name, array in arrays.items():
        number, _, rest = name.partition("/")
        found[int(number)][rest] = array
    return found


# -- the app ----------------------------------------------------------------------------------------------------------

app = ClientApp()


@app.train("tune")
@app.train("learn_mask")
@app.evaluate("score")
@app.query("who")
def do(message: Message, context: Context) -> Message:
    """Carry out the jobs in a message; a site that cannot be opened is an error reply."""
    config = {str(name): value for name, value in context.node_config.items()}
    alone = Path(sys.argv[0]).name == "flwr-clientapp"  # this process is for one message
    if alone and float(config.get(WARM_SECONDS, WARM)) > 0:
        return Message(_passed_on(message.content, config), reply_to=message)
    return Message(encode_replies(list(_replies(message.content, config))), reply_to=message)


def _replies(content: RecordDict, config: Mapping[str, Any], first: int = 0) -> Iterator["Reply"]:
    """Do the jobs in a message here, from the ``first`` one on."""
    from clients.jobs import Reply

    jobs, shared, settings = decode_jobs(content)
    for job in jobs[first:]:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # nothing writes to them
            try:
                yield _reply(job, shared, settings, config.get(DATA_SOURCE))
            except InputError as error:
                yield Reply(job.clients, error=f"{type(error).__name__}: {error}")


def _reply(job: "Job", shared: dict[str, np.ndarray], text: str, own: str | None) -> "Reply":
    """Do a job at this node: over its own data if its config names them, else over those of the scenario."""
    from clients.jobs import Reply, perform
    from clients.work.site import HERE, open_site

    if job.kind == WAKE:
        return Reply(())
    settings = _settings(text)
    source = None if own is None else HERE.dataset(settings.data, settings.seed, str(own), settings.population)
    if job.kind == WHO:
        return Reply((), {"clients": None if source is None else [shard.client for shard in source.shards]})
    named = {name: shared[name] for name in job.shared}
    return perform(open_site(settings, source), job, named)


@lru_cache(maxsize=4)
def _settings(text: str) -> "Settings":
    """Read once a process: with a population of hundreds of clients they are a megabyte."""
    from clients.settings import Settings

    return Settings.model_validate_json(text)


# -- the process that stays -------------------------------------------------------------------------------------------


def _passed_on(content: RecordDict, config: Mapping[str, Any]) -> RecordDict:
    """The answer of the node's warm process. A job that it dies of is an error reply; the next one has a fresh process."""
    code, owner = str(Path(__file__).resolve().parents[1]), os.getppid()
    place = warm.place_of(code, str(owner), json.dumps(config, sort_keys=True))
    start = "import sys; from clients.app import stay; stay(*sys.argv[1:])"
    command = [sys.executable, "-c", start, str(place), str(owner), str(config.get(WARM_SECONDS, WARM))]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([code, *filter(None, sys.path)])}
    told = json.loads(str(content.config_records["jobs"]["jobs"]))
    found: list[RecordDict] = []
    while len(found) < len(told):
        asked = pack(content, {"config": dict(config), "first": len(found)})
        try:
            for answer in warm.ask(place, command, environment, asked):
                found.append(unpack(answer)[0])
        except EOFError as error:
            reason = str(error) or "killed, perhaps for memory: lower workers.cohort or tuning.micro_batch"
            found.append(_lost(told[len(found)]["clients"], f"the process that works for this node died ({reason})"))
    return _together(found)


def _lost(clients: list[str], error: str) -> RecordDict:
    about = [{"clients": clients, "facts": {}, "error": error}]
    return RecordDict({"replies": ConfigRecord({"replies": json.dumps(about)})})


def _together(found: Sequence[RecordDict]) -> RecordDict:
    """Answers to one job each as the answer to all, without looking into them."""
    told = [json.loads(str(each.config_records["replies"]["replies"]))[0] for each in found]
    arrays = {
        f"{number}/{name.partition('/')[2]}": array
        for number, each in enumerate(found)
        for name, array in each.array_records.get("arrays", ArrayRecord()).items()
    }
    return _records({"replies": ConfigRecord({"replies": json.dumps(told)})}, arrays=ArrayRecord(arrays))


def stay(place: str, owner: str, idle: str) -> None:
    """What the warm process runs."""

    def answer(frames: warm.Frames) -> Iterator[warm.Frames]:
        content, about = unpack(frames)
        for reply in _replies(content, about["config"], about["first"]):
            yield pack(encode_replies([reply]), {})

    with suppress(KeyboardInterrupt):
        warm.serve(Path(place), answer, int(owner), float(idle))


def pack(content: RecordDict, about: Mapping[str, Any]) -> warm.Frames:
    """Records of texts and of arrays as bytes, with some JSON beside them."""
    texts = {name: dict(record) for name, record in content.config_records.items()}
    arrays = {
        name: [[key, array.dtype, list(array.shape), array.stype] for key, array in record.items()]
        for name, record in content.array_records.items()
    }
    header = json.dumps({"about": dict(about), "texts": texts, "arrays": arrays}).encode()
    return [header, *(array.data for record in content.array_records.values() for array in record.values())]


def unpack(frames: warm.Frames) -> tuple[RecordDict, dict[str, Any]]:
    """What ``pack`` was given."""
    header, data = json.loads(frames[0]), iter(frames[1:])
    content = RecordDict({name: ConfigRecord(texts) for name, texts in header["texts"].items()})
    for name, arrays in header["arrays"].items():
        content[name] = ArrayRecord(
            {
                key: Array(dtype=dtype, shape=tuple(shape), stype=stype, data=next(data))
                for key, dtype, shape, stype in arrays
            }
        )
    return content, header["about"]
