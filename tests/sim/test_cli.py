"""The command, as a user types it, in this process; ``test_packaging.py`` starts it as one of its own."""

import json
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from contract import life_of
from tiny_scenario import TINY

from sim.cli import main
from sim.life.ledger import Ledger
from strategies.state.sum import Sum


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Exit code, output and errors of a command that runs in this process."""

    def type_in(*arguments: str, cwd: Path) -> tuple[int, str, str]:
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["unmerge", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return type_in


def test_a_study_by_command(typed: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    """A scenario with a sweep is priced and played, gone on with and reported; scale makes one; others refuse it."""
    few = {"strategies": ["zero_shot", "average"], "stream": {"requests": 0}, "audit": []}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY | few))
    (tmp_path / "swept.yaml").write_text(yaml.safe_dump(TINY | few | {"sweep": {"clients": [1, 2]}}))
    code, priced, error = typed("plan", "swept.yaml", cwd=tmp_path)
    assert code == 0, error
    assert "The study, each client tuned once for all points: 2 clients tuned" in priced
    code, played, error = typed("run", "swept.yaml", "--out", "swept", cwd=tmp_path)
    assert code == 0, error
    assert played.splitlines()[-1] == "Study: swept"
    code, again, error = typed("run", "--resume", "swept", cwd=tmp_path)
    assert (code, again) == (0, played), error
    assert typed("report", "swept", cwd=tmp_path) == (0, played, "")
    options = ["--clients", "1,2", "--seeds", "7", "--strategies", "zero_shot,average", "--out", "scaled"]
    code, scaled, error = typed("scale", "tiny.yaml", *options, cwd=tmp_path)
    assert (code, scaled.replace("scaled", "swept")) == (0, played), error
    code, _, error = typed("scale", "tiny.yaml", "--clients", "1", "--out", "swept", cwd=tmp_path)
    assert code == 1
    assert error.startswith("Error: --out swept: a study is there; go on with: unmerge run --resume swept")
    code, _, error = typed("simulate", "swept.yaml", cwd=tmp_path)
    assert (code, "sweep: a study is played" in error) == (1, True)
    code, _, error = typed("run", "tiny.yaml", "--set", "sweep={tuning.steps: [0]}", cwd=tmp_path)
    assert (code, "sweep: tuning.steps = 0: tuning.steps: Input should be" in error) == (1, True)


def test_run_verify_forget_and_a_forged_state(typed: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    """The whole job by command, then a bit of the state and its records changed: verify must say so and exit with 1."""
    scenario, run = tmp_path / "tiny.yaml", tmp_path / "runs" / "tiny"
    small = {"strategies": ["average", "sift_masks"], "report": {"html": True}}
    scenario.write_text(yaml.safe_dump(TINY | small))
    code, made, error = typed("run", "tiny.yaml", "--set", "data.pairs=2", cwd=tmp_path)
    assert code == 0, error
    assert "sift_masks" in made
    assert made.splitlines()[-1] == "Report: runs/tiny/report.html"
    assert (run / "report.html").stat().st_size > 10_000

    code, verified, error = typed("verify", "runs/tiny", cwd=tmp_path)
    assert code == 0, error
    assert verified.splitlines()[-1].startswith("Verified: 2 exact states equal")

    summary = json.loads((run / "summary.json").read_text())
    code, _, error = typed("forget", "runs/tiny", "--client", "u99", cwd=tmp_path)
    assert (code, error) == (1, "Error: --client u99: there is no such client; there are u0, u1, u2, u3, u4, ...\n")
    assert json.loads((run / "summary.json").read_text()) == summary

    forge(run)
    code, caught, error = typed("verify", "runs/tiny", cwd=tmp_path)
    assert (code, error) == (1, "Error: not bitwise equal to a rebuild from the retained clients: average (seed 7)\n")
    assert "average" in caught
    assert "DIFFERENT" in caught


def forge(run: Path) -> None:
    """Everything forged alike: the sum, the record, the ledger and the summary agree; only the retained data know better."""
    life = life_of(run)
    life.system.kept["plain"][Sum()].total.total[0] += 1
    life.system.save()
    life.record["state_digest"] = life.system.digests()
    life.commit()
    lines = [json.loads(line) for line in (run / "ledger.jsonl").read_text().splitlines()]
    (run / "ledger.jsonl").unlink()
    ledger = Ledger(run / "ledger.jsonl")
    for line in lines:
        facts = {k: v for k, v in line.items() if k not in ("n", "event", "previous", "hash")}
        for label, told in facts.get("strategies", {}).items():
            told["state_digest"] = life.record["state_digest"][label]
        ledger.commit(**facts) if line["event"] == "commit" else ledger.append(line["event"], **facts)
    summary = json.loads((run / "summary.json").read_text())
    summary["ledger"] = {"records": ledger.records, "head": ledger.head}
    (run / "summary.json").write_text(json.dumps(summary))


def test_examples_are_forgotten_somebody_joins_and_a_finished_run_owes_nothing(
    typed: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    """7 of 8 clients join, with 3 pairs each; 3 steps a tuning. A deletion of examples costs two derivations."""
    stream = {"join": 7, "requests": 0}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY | {"strategies": ["average", "mask_only"], "stream": stream}))
    assert typed("run", "tiny.yaml", cwd=tmp_path)[0] == 0
    state = tmp_path / "runs/tiny/state/7"
    population = json.loads((state / "population.json").read_text())
    (newcomer,) = set(population["clients"]) - set(population["joining"])
    client = population["joining"][0]

    code, said, _ = typed("forget", "runs/tiny", "--client", client, "--rows", "2,0", cwd=tmp_path)
    assert (code, said.splitlines()[-1]) == (0, f"Forgot 2 examples of {client}. Gradient steps: average 6, mask_only 3.")
    left = json.loads((state / "population.json").read_text())["examples"]
    middle = population["examples"][client]["train"][1]
    assert left == population["examples"] | {client: {"train": [middle], "validation": [], "test": []}}
    for rows, reason in (
        ("0", f"--rows 0: nothing was learned of this row of client {client}; it was forgotten already, or never used"),
        ("3", f"--rows 3: client {client} has 3 rows in the source, numbered from 0"),
    ):
        again = typed("forget", "runs/tiny", "--client", client, "--rows", rows, cwd=tmp_path)
        assert (again[0], again[2]) == (1, f"Error: {reason}\n")

    code, said, _ = typed("join", "runs/tiny", "--client", newcomer, cwd=tmp_path)
    assert (code, said.splitlines()[-1]) == (0, f"{newcomer} joined. Gradient steps: average 3, mask_only 3.")
    again = typed("join", "runs/tiny", "--client", newcomer, cwd=tmp_path)
    assert (again[0], again[2]) == (1, f"Error: --client {newcomer}: is there already\n")

    before = {path: path.read_bytes() for path in (tmp_path / "runs/tiny").rglob("*") if path.is_file()}
    told = json.loads((tmp_path / "runs/tiny/summary.json").read_text())
    assert (told["clients"], told["requests"], told["joins"]) == (7, 1, 1)
    assert told["strategies"]["average"]["gradient_steps"] == {"learn": 7 * 3, "forget": 6, "join": 3}
    assert all(strategy["bitwise_equal"] for strategy in told["strategies"].values())
    code, said, _ = typed("run", "--resume", "runs/tiny", cwd=tmp_path)
    assert (code, said.splitlines()[-1]) == (0, "Results: runs/tiny")
    after = {path: path.read_bytes() for path in (tmp_path / "runs/tiny").rglob("*") if path.is_file()}
    assert {path.name for path in before.keys() ^ after.keys()} == set()
    assert {path.name for path in before if before[path] != after[path]} <= {"summary.json"}  # its ledger has refusals now


def test_a_scenario_is_priced_and_other_strategies_are_compared(
    typed: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    """8 clients, 3 steps a tuning, 4 deletions in 2 releases: six stay, then four."""
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY | {"strategies": ["average", "ties"], "audit": []}))
    code, priced, error = typed("plan", "tiny.yaml", "--set", "data.pairs=2", cwd=tmp_path)
    assert code == 0, error
    rows = {line.split()[0]: " ".join(line.split()) for line in priced.splitlines() if line.strip()}
    assert rows["average"].startswith("average yes subtract 8 / 1 / 4 24 / 12 ")
    assert rows["ties"].startswith("ties yes rebuild 8 / 2.5 / 10 24 / 30 ")
    assert rows["ties:"] == ("ties: deleting costs as much as learning again without the forgotten: 30 of 30 gradient steps")
    assert not (tmp_path / "runs").exists()

    names = "mask_only,average"
    code, compared, error = typed("compare", "tiny.yaml", "--strategies", names, "--set", "data.pairs=2", cwd=tmp_path)
    assert code == 0, error
    assert compared.splitlines()[-1] == "Results: runs/tiny-compare"
    told = json.loads((tmp_path / "runs/tiny-compare/summary.json").read_text())["strategies"]
    assert list(told) == ["zero_shot", "local", "mask_only", "average"]
    lines = [line.split() for line in compared.splitlines() if line.strip()]
    shown = {line[0]: line for line in lines if line[0] in told}
    values = [told[label]["accuracy"]["held_in_after"] for label in shown]
    assert values == sorted(values, reverse=True)
    assert (shown["zero_shot"][4:6], shown["local"][4:6]) == (["0", "%"], ["100", "%"])
    assert "24 / 12" in " ".join(shown["average"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "tiny.yaml", "--set", "tuning.stesp=3"], "tuning.stesp: unknown key; did you mean 'steps'?"),
        (["run", "tiny.yaml", "--set", "data.source=nowhere.csv"], "data needs a family"),
        (["run", "nowhere.yaml"], "there is no scenario file nowhere.yaml"),
        (["verify", "."], "not a run folder"),
        (["report", "nowhere"], "nowhere"),
        (["run"], "run: give a scenario, or --resume RUN alone"),
        (["run", "tiny.yaml", "--resume", "."], "run: give a scenario, or --resume RUN alone"),
        (["run", "--resume", "."], "not a run folder"),
        (["join", ".", "--client", "u1"], "not a run folder"),
        (["forget", ".", "--client", "u1", "--rows", "3,x"], "--rows 3,x: give positions as in 3,9"),
    ],
)
def test_bad_input_is_one_line_and_a_non_zero_exit(
    typed: Callable[..., tuple[int, str, str]], tiny_file: Path, arguments: list[str], message: str
) -> None:
    code, _, error = typed(*arguments, cwd=tiny_file.parent)
    assert code == 1
    assert error.startswith("Error: ")
    assert message in error
    assert len(error.splitlines()) == 1
    assert not (tiny_file.parent / "runs").exists()


def test_the_version_is_that_of_the_project(typed: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    project = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())["project"]
    assert typed("--version", cwd=tmp_path) == (0, f"unmerge {project['version']}\n", "")


def test_lists_and_schema(typed: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    code, schema, _ = typed("schema", cwd=tmp_path)
    assert code == 0
    assert json.loads(schema)["title"] == "Unmerge scenario"
    _, told, _ = typed("strategies", cwd=tmp_path)
    assert "clamu  exact, relearn" in told
    assert "mask_only  exact, erase" in told
    _, families, _ = typed("datasets", cwd=tmp_path)
    assert "fiction  embedded" in families
    assert "sent140  tweets, users as clients, sentiment accuracy; source: microblog is embedded" in families


def test_what_is_read_is_told_before_anything_is_run(typed: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    rows = [f"{who},it was {n} {word},{word}" for who in ("ann", "bob", "cid") for n in range(9) for word in ("good", "bad")]
    (tmp_path / "t.csv").write_text("\n".join(["who,text,mood", *rows, "ann,,good"]))
    tiny_model = {"max_length": 8, "tiny": TINY["model"]["tiny"]}
    data = {"family": "table", "source": "t.csv", "prompt": "{text}\nmood:{mood}", "client_column": "who", "clients": 2}
    asked = {"data": data | {"public_clients": 1}, "model": tiny_model, "strategies": ["local"], "stream": {"requests": 0}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(asked))
    code, told, error = typed("datasets", "mine.yaml", cwd=tmp_path)
    assert code == 0, error
    lines = told.splitlines()
    assert lines[0] == f"table: {tmp_path / 't.csv'}"
    assert lines[1] == "55 rows were read."
    assert "1 of 55 rows have no value in column 'text'; they are left out." in lines
    assert "2 clients of 18 to 18 examples (median 18): " in told
    assert "2 labels: bad 18, good 18." in lines
    assert "texts take more than model.max_length = 8 tokens: their columns lose their beginnings." in told
    shown = lines.index("A training example of bob, as the model is given it:")
    assert lines[shown + 1].endswith("\\nmood:'")
    assert lines[shown + 2] in ("'good<|endoftext|>'", "'bad<|endoftext|>'")
    assert lines[-2:] == ["  bad: 'bad<|endoftext|>'", "  good: 'good<|endoftext|>'"]
    assert not (tmp_path / "runs").exists()
