"""A privacy engineer's day: forget, erase the rows at the source, forget again; and every forget is killed in the middle."""

import csv
import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml
from child import SCENARIO, call, events, start, stop_at, strays

pytestmark = pytest.mark.slow


def rows(people: int = 9) -> list[dict[str, str]]:
    return [
        {
            "user": f"user {person}",
            "text": f"{person * 31 + line} days of {line}",
            "mood": ["glad", "sad"][(person + line) % 2],
        }
        for line in range(12)
        for person in range(people)
        if line < 9 + person % 3
    ]


def write(path: Path, table: list[dict[str, str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["user", "text", "mood"])
        writer.writeheader()
        writer.writerows(table)


def killed_and_resumed(arguments: list[str], run: Path, log: Path, lines: int, rng: random.Random) -> None:
    """Kill a command in the middle, and go on: by the same command again, or by ``run --resume``."""
    before = len(events(run))
    stop_at(start(arguments, log), run, before + rng.randint(0, lines), rng.uniform(0, 0.05), signal.SIGKILL)
    if (run / "asked.json").exists():
        assert call(["run", "--resume", str(run)], log) == 0, log.read_text()
    last = events(run)[before:]
    if not any(event["event"] == "release" for event in last):  # it was killed before it was written down
        assert call(arguments, log) == 0, log.read_text()


def test_the_story(cache: Path, tmp_path: Path) -> None:
    source, run, log = tmp_path / "posts.csv", tmp_path / "run", tmp_path / "log"
    scenario, rng, table = tmp_path / "scenario.yaml", random.Random("story"), rows()
    write(source, table)
    data: dict[str, Any] = {"family": "table", "source": str(source), "prompt": "{text} mood:{mood}"}
    data |= {"client_column": "user", "clients": 6, "public_clients": 3, "minimum": 4, "validation": 2}
    stream = {"requests": 0, "join": 6}
    scenario.write_text(yaml.safe_dump(SCENARIO | {"data": data, "stream": stream}))
    assert call(["run", str(scenario), "--out", str(run)], log) == 0, log.read_text()
    members = sorted({event["client"] for event in events(run) if event["event"] == "join"})

    first, second, third, *_ = members
    for client in (first, second):
        killed_and_resumed(["forget", str(run), "--client", client], run, log, 12, rng)
        table = [row for row in table if row["user"] != client]
        write(source, table)
    places = [place for place, row in enumerate(table) if row["user"] == third]
    positions = [1, 4]
    killed_and_resumed(["forget", str(run), "--rows", "1,4", "--client", third], run, log, 12, rng)
    gone = {places[position] for position in positions}
    table = [row for place, row in enumerate(table) if place not in gone]
    write(source, table)
    assert call(["verify", str(run)], log) == 0, log.read_text()
    assert call(["forget", str(run), "--client", third], log) == 0, log.read_text()
    table = [row for row in table if row["user"] != third]
    write(source, table)
    assert call(["verify", str(run)], log) == 0, log.read_text()
    assert call(["report", str(run)], log) == 0
    text = log.read_text()
    assert "Traceback" not in text
    assert "DIFFERENT" not in text
    assert strays(run) == []
    forgets = [event for event in events(run) if event["event"] == "release" and event["clients"]]
    assert [event["clients"] for event in forgets] == [[first], [second], [third], [third]]
    assert os.path.getsize(run / "ledger.jsonl") == len((run / "ledger.jsonl").read_bytes().decode("ascii"))
