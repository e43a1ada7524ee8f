"""A Flower node that has data of its own: its config says where."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from clients import warm
from clients.app import (
    WHO,
    _replies,
    _settings,
    decode_jobs,
    decode_replies,
    do,
    encode_arrays,
    encode_jobs,
    encode_replies,
    pack,
    unpack,
)
from clients.data.population import Population
from clients.jobs import Job, Reply, perform, tune_job
from clients.models.tiny_gpt2 import folder_of
from clients.settings import Settings
from clients.work.contributions import SUM
from clients.work.site import Site, open_site

Write = Callable[[str, list[dict[str, Any]]], Path]
ROWS = [
    {"who": who, "text": f"{who} {number}", "label": "yn"[number % 2]}
    for who in ("ann", "bob", "cid")
    for number in range(9)
]


@pytest.fixture
def identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages can only be made inside a Flower run."""
    for name in ("_run_id", "_node_id", "_task_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


@pytest.fixture
def settings(site: Site, write_lines: Write) -> Settings:
    """Three clients in a table, and a base model that needs no public part."""
    base = folder_of(site.settings.model.tiny, site.manifest.public)
    source = str(write_lines("all.jsonl", ROWS))
    table = {"family": "table", "source": source, "prompt": "{text}: {label}", "client_column": "who", "clients": 3}
    return Settings.model_validate(
        {"data": table | {"labels": ["y", "n"]}, "model": {"base": str(base), "max_length": 64}, "tuning": {"steps": 2}}
    )


@pytest.fixture
def asked(identity: None, settings: Settings) -> Callable[..., Reply]:
    """Asks a node with some config to tune clients."""

    def ask(clients: list[str], config: dict[str, Any], sent: Settings = settings) -> Reply:
        content = encode_jobs([tune_job(clients, "plain", [SUM])], ArrayRecord(), sent.model_dump_json())
        context = Context(1, 1, node_config=config, state=RecordDict(), run_config={})
        return decode_replies(do(Message(content, 1, "train.tune"), context).content)[0]

    return ask


def test_a_node_serves_the_clients_of_its_own_file(
    asked: Callable[..., Reply], settings: Settings, write_lines: Write
) -> None:
    own = str(write_lines("own.jsonl", [row for row in ROWS if row["who"] == "bob"]))
    expected = perform(open_site(settings), tune_job(["bob"], "plain", [SUM]), {})
    for config in ({}, {"data-source": own}):
        reply = asked(["bob"], config)
        assert reply.error is None
        assert reply.facts["tunings"] == expected.facts["tunings"]
        assert reply.arrays["sum"].tobytes() == expected.arrays["sum"].tobytes()
    assert asked(["ann"], {}).error is None
    reply = asked(["ann"], {"data-source": own})
    assert (reply.clients, reply.error) == (("ann",), "InputError: the data of client ann are not at this node")


def test_a_node_names_the_clients_whose_data_it_holds(
    asked: Callable[..., Reply], settings: Settings, write_lines: Write, identity: None
) -> None:
    own = str(write_lines("own.jsonl", [row for row in ROWS if row["who"] != "bob"]))
    content = encode_jobs([Job(WHO, (), {})], ArrayRecord(), settings.model_dump_json())
    for config, holds in (({}, None), ({"data-source": own}, ["ann", "cid"])):
        context = Context(1, 1, node_config=config, state=RecordDict(), run_config={})  # type: ignore[arg-type]
        (reply,) = decode_replies(do(Message(content, 1, "query.who"), context).content)
        assert (reply.error, reply.facts) == (None, {"clients": holds})


def test_several_jobs_in_a_message_are_answered_in_their_order(identity: None, settings: Settings) -> None:
    """Each with its own shared arrays; one that fails takes no other with it."""
    jobs = [tune_job([client], "plain", [SUM]) for client in ("cid", "nobody", "ann")]
    expected = [perform(open_site(settings), job, {}) for job in jobs]
    context = Context(1, 1, node_config={}, state=RecordDict(), run_config={})
    content = encode_jobs(jobs, ArrayRecord(), settings.model_dump_json())
    replies = decode_replies(do(Message(content, 1, "train.tune"), context).content)
    assert [reply.clients for reply in replies] == [("cid",), ("nobody",), ("ann",)]
    assert "nobody" in str(replies[1].error)
    for reply, wanted in zip(replies, expected, strict=True):
        assert reply.facts.get("tunings") == wanted.facts.get("tunings")
        assert {name: array.tobytes() for name, array in reply.arrays.items()} == {
            name: array.tobytes() for name, array in wanted.arrays.items()
        }


def test_a_message_survives_the_way_to_the_warm_process() -> None:
    shared = encode_arrays({"mean": np.arange(3.0), "other": np.zeros(2)})
    jobs = [Job("score", ("a",), {"x": 1}, {"m": np.eye(2)}, ("mean",)), Job("tune", ("é",), {})]
    content, about = unpack(pack(encode_jobs(jobs, shared, "{}"), {"first": 1}))
    got, named, settings = decode_jobs(content)
    assert (about, settings, list(named)) == ({"first": 1}, "{}", ["mean"])
    assert [(job.kind, job.clients, job.facts, job.shared) for job in got] == [
        ("score", ("a",), {"x": 1}, ("mean",)),
        ("tune", ("é",), {}, ()),
    ]
    np.testing.assert_array_equal(got[0].arrays["m"], np.eye(2))
    np.testing.assert_array_equal(named["mean"], np.arange(3.0))


def test_long_settings_are_a_record_of_their_own_and_read_once(settings: Settings) -> None:
    population = Population(clients=tuple(f"c{number}" for number in range(5000)))
    text = settings.model_copy(update={"population": population}).model_dump_json()
    contents = [encode_jobs([tune_job([client], "plain", [])], ArrayRecord(), text) for client in ("a", "b")]
    ids = [content.config_records["settings"].object_id for content in contents]
    assert ids[0] == ids[1]  # Flower keeps one of them
    assert _settings(decode_jobs(contents[0])[2]) is _settings(decode_jobs(contents[1])[2])


def test_a_job_that_kills_the_warm_process_takes_no_other_with_it(
    identity: None, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a node: the process of one message passes it on to one that stays, here one that dies of bob."""
    monkeypatch.setattr(sys, "argv", ["/usr/bin/flwr-clientapp"])
    monkeypatch.setattr(warm, "ask", dying_of("bob"))
    jobs = [tune_job([client], "plain", [SUM]) for client in ("ann", "bob", "cid")]
    content = encode_jobs(jobs, ArrayRecord(), settings.model_dump_json())
    context = Context(1, 1, node_config={}, state=RecordDict(), run_config={})
    replies = decode_replies(do(Message(content, 1, "train.tune"), context).content)
    for job, reply in zip(jobs, replies, strict=True):
        if job.clients == ("bob",):
            assert "the process that works for this node died (killed, perhaps for memory" in str(reply.error)
        else:
            assert reply.error is None
            assert reply.arrays["sum"].tobytes() == perform(open_site(settings), job, {}).arrays["sum"].tobytes()


def dying_of(client: str) -> Callable[..., Iterator[list[bytes]]]:
    """A stand-in for ``warm.ask`` that works here."""

    def ask(place: Path, command: list[str], environment: dict[str, str], frames: list[bytes]) -> Iterator[list[bytes]]:
        content, about = unpack(frames)
        for job, reply in zip(
            decode_jobs(content)[0][about["first"] :], _replies(content, about["config"], about["first"]), strict=True
        ):
            if job.clients == (client,):
                raise EOFError
            yield pack(encode_replies([reply]), {})

    return ask


def test_a_node_never_opens_the_scenarios_source_beside_its_own(
    asked: Callable[..., Reply], settings: Settings, write_lines: Write, tmp_path: Path
) -> None:
    own = str(write_lines("own.jsonl", [row for row in ROWS if row["who"] == "cid"]))
    gone = settings.model_copy(update={"data": settings.data.model_copy(update={"source": str(tmp_path / "gone.jsonl")})})
    reply = asked(["cid"], {"data-source": own}, gone)
    assert reply.error is None
    assert list(reply.facts["tunings"]) == ["cid"]
    assert "there is no file or folder" in str(asked(["cid"], {}, gone).error)


def test_own_data_that_cannot_be_read_are_an_error_reply(
    asked: Callable[..., Reply], tiny_settings: Settings, tmp_path: Path
) -> None:
    reply = asked(["ann"], {"data-source": str(tmp_path / "none.jsonl")})
    assert "InputError: data.source: there is no file or folder" in str(reply.error)
    reply = asked(["u1"], {"data-source": str(tmp_path)}, tiny_settings)
    assert "data.family: fiction does not read from one source" in str(reply.error)
