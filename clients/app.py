"""The Flower ClientApp: a client's side of the jobs, and how jobs and replies are written as Flower messages.

A message carries its settings, so a node needs no configuration; a process opens data and base model once. A node that has
data of its own names their folder or file as ``data-source`` in its node config (``flower-supernode --node-config
'data-source="/data/mine.jsonl"'``), and serves the clients found there. Facts travel as JSON, arrays bit for bit in the .npy
form that Flower's own ``Array.numpy()`` reads. Decoding makes views of the message's bytes: the arrays are read-only.
"""

import json
import math
import warnings
from collections.abc import Mapping
from io import BytesIO

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from clients.errors import InputError
from clients.jobs import Job, Reply, perform
from clients.settings import Settings
from clients.work.site import HERE, Site, open_site

NUMPY = "numpy.ndarray"
DATA_SOURCE = "data-source"
"""Key of a node's config: where its own data are."""


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


def encode_job(job: Job, shared: ArrayRecord, settings: str) -> RecordDict:
    """A message's content.

    Args:
        shared: at least the shared arrays that the job names, already encoded: many messages hold the same bytes.
        settings: as JSON.
    """
    named = ArrayRecord({name: shared[name] for name in job.shared})
    about = {"kind": job.kind, "clients": list(job.clients), "facts": job.facts}
    config = ConfigRecord({"job": json.dumps(about), "settings": settings})
    return RecordDict({"job": config, "arrays": encode_arrays(job.arrays), "shared": named})


def decode_job(content: RecordDict) -> tuple[Job, dict[str, np.ndarray], str]:
    """The job, the shared arrays it reads, and the settings as JSON."""
    config = content.config_records["job"]
    about = json.loads(str(config["job"]))
    shared = decode_arrays(content.array_records["shared"])
    arrays = decode_arrays(content.array_records["arrays"])
    job = Job(about["kind"], tuple(about["clients"]), about["facts"], arrays, tuple(shared))
    return job, shared, str(config["settings"])


def encode_reply(reply: Reply) -> RecordDict:
    """A reply's content."""
    about = {"clients": list(reply.clients), "facts": reply.facts, "error": reply.error}
    return RecordDict({"reply": ConfigRecord({"reply": json.dumps(about)}), "arrays": encode_arrays(reply.arrays)})


def decode_reply(content: RecordDict) -> Reply:
    """The reply in a message.

    Raises:
        InputError: it is not one that ``encode_reply`` wrote.
    """
    try:
        about = json.loads(str(content.config_records["reply"]["reply"]))
        arrays = decode_arrays(content.array_records["arrays"])
        return Reply(tuple(about["clients"]), dict(about["facts"]), arrays, about["error"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"not a reply to a job ({type(error).__name__}: {error})") from error


app = ClientApp()


@app.train("tune")
@app.train("learn_mask")
@app.evaluate("score")
def do(message: Message, context: Context) -> Message:
    """Carry out the job in a message; a site that cannot be opened is an error reply."""
    job, shared, settings = decode_job(message.content)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # nothing writes to them
        try:
            reply = perform(_site(Settings.model_validate_json(settings), context), job, shared)
        except InputError as error:
            reply = Reply(job.clients, error=f"{type(error).__name__}: {error}")
    return Message(encode_reply(reply), reply_to=message)


def _site(settings: Settings, context: Context) -> Site:
    """The site of this node: over its own data if its config names them, else over those of the scenario."""
    own = context.node_config.get(DATA_SOURCE)
    source = None if own is None else HERE.dataset(settings.data, settings.seed, str(own))
    return open_site(settings, source)
