"""``--format json``: one document on stdout, with the same exit codes."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from test_cli import forge
from test_cli import typed as typed
from tiny_scenario import TINY

from clients.data.loaders import LOADERS
from sim.cli import app
from sim.document import document, tell
from sim.report.report import Summary
from sim.scenario.model import schema
from sim.study.compare import ranked
from strategies.registry import REGISTRY

Typed = Callable[..., tuple[int, str, str]]
SMALL = TINY | {"strategies": ["average", "mask_only"], "stream": {"requests": 1}}


def asked(typed: Typed, *arguments: str, cwd: Path) -> tuple[int, dict[str, Any], str]:
    """Exit code, the document, and what stands on stderr."""
    code, out, error = typed(*arguments, "--format", "json", cwd=cwd)
    document: dict[str, Any] = json.loads(out)
    return code, document, error


def test_a_run_and_all_that_is_done_with_it(typed: Typed, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(SMALL))
    run = tmp_path / "runs" / "tiny"
    code, told, error = asked(typed, "run", "tiny.yaml", cwd=tmp_path)
    summary = json.loads((run / "summary.json").read_text())
    assert (code, told) == (0, summary | {"run": "runs/tiny", "report": None})
    assert "Results: runs/tiny" in error  # what a person reads

    code, told, _ = asked(typed, "run", "--resume", "runs/tiny", cwd=tmp_path)
    assert (code, told["run"], told["name"]) == (0, "runs/tiny", "tiny")

    members = json.loads((run / "state/7/kept-plain/members.json").read_text())
    client = sorted(set(json.loads((run / "state/7/population.json").read_text())["examples"]))[0]
    assert client.startswith("u")
    code, told, _ = asked(typed, "forget", "runs/tiny", "--client", client, cwd=tmp_path)
    assert (code, told["requests"], told["costs"]["average"]["gradient_steps"]) == (0, 2, 3)
    assert len(members) == 7
    code, told, _ = asked(typed, "join", "runs/tiny", "--client", client, cwd=tmp_path)
    assert (code, told["joins"], told["costs"]["mask_only"]["client_tunings"]) == (0, 1, 1)

    code, told, _ = asked(typed, "verify", "runs/tiny", cwd=tmp_path)
    assert (code, told["traces"], "error" in told) == (0, [], False)
    assert [(each["label"], each["equal"], each["exactness"]) for each in told["findings"]] == [
        ("average", True, "exact"),
        ("mask_only", True, "exact"),
    ]
    assert told["findings"][0]["state"] == told["findings"][0]["rebuilt"]

    code, told, _ = asked(typed, "export", "runs/tiny", "out", "--strategy", "average", cwd=tmp_path)
    assert (code, told["export"], told["opens_with"]) == (0, "out", "AutoModelForCausalLM")
    assert set(told["files"]) == {path.name for path in (tmp_path / "out").iterdir()} >= {"README.md", "model.safetensors"}

    code, told, _ = asked(typed, "report", "runs/tiny", cwd=tmp_path)
    assert (code, told) == (0, {"report": "runs/tiny/report.html"})

    forge(run)
    code, told, error = asked(typed, "verify", "runs/tiny", cwd=tmp_path)
    assert (code, told["findings"][0]["equal"]) == (1, False)
    assert told["error"] == "not bitwise equal to a rebuild from the retained clients: average (seed 7)"
    assert error.endswith(f"Error: {told['error']}\n")


def test_what_is_told_before_a_run(typed: Typed, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(SMALL))
    code, told, _ = asked(typed, "plan", "tiny.yaml", cwd=tmp_path)
    assert code == 0
    assert told["strategies"]["average"]["gradient_steps"] == {"learn": 8 * 3, "forget": 3}
    assert told["strategies"]["mask_only"]["gradient_steps"] == {"learn": 8 * 3, "forget": 0}
    assert told["seconds"] > 0
    code, told, _ = asked(typed, "simulate", "tiny.yaml", cwd=tmp_path)
    assert (code, told["simulation"]) == (0, "runs/tiny-simulation/simulation.json")
    code, told, _ = asked(typed, "datasets", "tiny.yaml", cwd=tmp_path)
    assert (code, told["lines"][0]) == (0, "fiction: fiction")


def test_what_there_is(typed: Typed, tmp_path: Path) -> None:
    code, told, _ = asked(typed, "strategies", cwd=tmp_path)
    assert (code, [each["name"] for each in told["strategies"]]) == (0, list(REGISTRY))
    first = next(each for each in told["strategies"] if each["name"] == "average")
    assert first["parameters"] == ["label", "tuning", "alpha"]
    assert (first["exactness"], first["deletion"], first["needs"]) == ("exact", "subtract", "the client who leaves")
    code, told, _ = asked(typed, "datasets", cwd=tmp_path)
    assert (code, {each["name"] for each in told["families"]}) == (0, set(LOADERS))
    code, told, _ = asked(typed, "schema", cwd=tmp_path)
    assert (code, told) == (0, json.loads(json.dumps(schema())))


def test_a_study(typed: Typed, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(SMALL | {"strategies": ["average"]}))
    code, told, _ = asked(typed, "scale", "tiny.yaml", "--clients", "2,3", "--out", "study", cwd=tmp_path)
    rows = told.pop("results")
    assert (code, told.pop("study")) == (0, "study")
    assert told == json.loads((tmp_path / "study" / "study.json").read_text())
    assert {row["clients"]: row["gradient_steps.learn"] for row in rows} == {2: 6, 3: 9}


def test_compare_ranks(typed: Typed, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(SMALL))
    code, told, _ = asked(typed, "compare", "tiny.yaml", "--strategies", "average", cwd=tmp_path)
    assert (code, set(told["ranked"])) == (0, {"zero_shot", "local", "average"})
    assert told["ranked"] == ranked(Summary.model_validate(told))
    after = {label: each["accuracy"]["held_in_after"] for label, each in told["strategies"].items()}
    share = (after["average"] - after["zero_shot"]) / (after["local"] - after["zero_shot"])
    assert told["recovered"] == {"zero_shot": 0.0, "local": 1.0, "average": pytest.approx(share)}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("run", "nowhere.yaml"), 1, "there is no scenario file nowhere.yaml"),
        (("verify", "nowhere"), 1, "nowhere: not a run folder"),
        (("export", "nowhere", "out", "--strategy", "average"), 1, "nowhere: not a run folder"),
        (("forget", "nowhere"), 2, "the command line is not understood; stderr says why"),
        (("run", "quickstart", "--sett", "a=1"), 2, "the command line is not understood; stderr says why"),
    ],
)
def test_errors_are_documents(typed: Typed, arguments: tuple[str, ...], code: int, message: str, tmp_path: Path) -> None:
    found, told, error = asked(typed, *arguments, cwd=tmp_path)
    assert (found, list(told)) == (code, ["error"])
    assert told["error"].startswith(message)
    assert error
    assert typed(*arguments, cwd=tmp_path)[:2] == (code, "")  # without it nothing is on stdout


def test_nothing_else_is_on_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    """Neither what is printed, nor what a process that was started prints; nor after an error that is our own."""

    def noisy() -> None:
        print("printed")
        os.system("echo started")
        tell(one=1)
        raise ZeroDivisionError("by zero")

    options: Any = {"format_": "json"}
    with pytest.raises(ZeroDivisionError):
        document(noisy)(**options)
    said = capfd.readouterr()
    assert json.loads(said.out) == {"one": 1, "error": "ZeroDivisionError: by zero"}
    assert "started" in said.err
    assert "printed" in said.err
    print("after")
    assert capfd.readouterr().out == "after\n"


def test_every_command_takes_it() -> None:
    commands: Any = typer.main.get_command(app)
    lacking = [
        name for name, each in commands.commands.items() if "--format" not in {o for p in each.params for o in p.opts}
    ]
    assert lacking == []
    assert "--install-completion" in {option for each in commands.params for option in each.opts}


def test_the_page_lists_every_command_with_its_options_and_what_it_prints() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "commands.md").read_text(encoding="utf-8")
    first, last = (page.split(head)[1] for head in ("| command | what it does | options |", "| command | the document |"))
    listed: dict[str, set[str]] = {}
    for name, options in re.findall(r"^\| `(\w+)[^`]*` \|.*\|([^|]*)\|$", first.split("\n\n")[0], re.MULTILINE):
        listed.setdefault(name, set()).update(re.findall(r"`(--\w+)`", options))
    commands: Any = typer.main.get_command(app)
    known = {
        name: {option for each in command.params for option in each.opts if option.startswith("--")} - {"--format"}
        for name, command in commands.commands.items()
    }
    assert listed == known
    told = {name for row in re.findall(r"^\| (`.*?) \|", last, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert told == set(known)
