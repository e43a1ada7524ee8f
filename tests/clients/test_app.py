"""A Flower node that has data of its own: its config says where."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ArrayRecord, Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from clients.app import decode_reply, do, encode_job
from clients.jobs import Reply, perform, tune_job
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
        content = encode_job(tune_job(clients, "plain", [SUM]), ArrayRecord(), sent.model_dump_json())
        context = Context(1, 1, node_config=config, state=RecordDict(), run_config={})
        return decode_reply(do(Message(content, 1, "train.tune"), context).content)

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
