"""A finished run: verified, asked to forget more, and damaged in every way."""

import json
from pathlib import Path
from typing import Any

import pytest
from contract import life_of
from test_run import records_of, summary_of
from tiny_scenario import tiny

from clients.errors import InputError
from sim.proof.verify import verify
from sim.run import forget, resume, run_scenario
from strategies.state.store import called


def current(run: Path) -> list[str]:
    forgotten = {record["client"] for record in records_of(run, "request")}
    return [f"u{i}" for i in range(8) if f"u{i}" not in forgotten]


def flip(path: Path, at: int = -8) -> None:
    """Change one bit; -8 is the lowest byte of the last int64, and of the last int32 but one."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_an_honest_run_is_verified(run: Path) -> None:
    findings, traces = verify(run)
    assert [finding.equal for finding in findings] == [True] * 11
    assert {f.label: f.state for f in findings} == {k: v["state_digest"] for k, v in summary_of(run)["strategies"].items()}
    assert traces == []


def test_forget_gives_the_state_of_a_run_with_the_same_people_gone(run: Path, tmp_path: Path) -> None:
    """Four forgotten in the stream and one after it, against five forgotten in another order, in one release."""
    client = current(run)[1]
    costs = forget(run, client)
    assert {costs[label].gradient_steps for label in ("average", "sift_masks", "counts", "half")} == {3}
    assert (costs["local"].gradient_steps, costs["clamu"].gradient_steps) == (0, 3 + 2 * 3)
    told = summary_of(run)
    assert (told["requests"], told["retrain"][-1]) == (5, {"deleted": 5, "gradient_steps": (6 + 4 + 3) * 3})
    assert all(strategy["bitwise_equal"] for strategy in told["strategies"].values())
    assert told["strategies"]["average"]["gradient_steps"]["forget"] == 5 * 3
    assert [point["deleted"] for point in told["curve"]["average"]] == [0, 2, 4, 5]
    assert records_of(run, "request")[-1]["client"] == client
    assert not [path for path in (run / "state").rglob("*") if path.stem in (client, called(client))]

    other = run_scenario(tiny(audit=[], stream={"requests": 0}), tmp_path / "other")
    for gone in sorted({record["client"] for record in records_of(run, "request")}):
        forget(other, gone)
    one, two = told["strategies"], summary_of(other)["strategies"]
    assert {label: s["state_digest"] for label, s in one.items()} == {label: s["state_digest"] for label, s in two.items()}
    assert verify(other)[1] == []


def test_forget_explains_whom_it_cannot_forget(run: Path) -> None:
    before = summary_of(run)
    with pytest.raises(InputError, match="there is no such client; there are u0, u1"):
        forget(run, "zz")
    gone = records_of(run, "request")[0]["client"]
    with pytest.raises(InputError, match="has been forgotten already"):
        forget(run, gone)
    assert summary_of(run) == before


def a_mask(run: Path) -> Path:
    return next((run / "state/7/kept-sign_fixed/clients/masks-1").iterdir())


def edit_scenario(run: Path) -> None:
    (run / "scenario.yaml").write_text((run / "scenario.yaml").read_text().replace("steps: 3", "steps: 4", 1))


def edit_ledger(run: Path) -> None:
    path = run / "ledger.jsonl"
    path.write_text(path.read_text().replace('"steps": 3', '"steps": 2', 1))


def forge(run: Path) -> None:
    """Change the sum, and the record of its digest with it."""
    path = run / "state" / "7" / "progress.json"
    record: dict[str, Any] = json.loads(path.read_text())
    flip(run / "state" / "7" / "kept-plain" / "sum.safetensors")
    record["state_digest"] = life_of(run, checked=False).system.digests()
    path.write_text(json.dumps(record))


def cut_off(run: Path) -> None:
    """Whole commits at the end are left out: no hash tells."""
    path = run / "ledger.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    assert [json.loads(line)["event"] for line in lines[-3:]] == ["commit", "end", "commit"]
    path.write_text("".join(lines[:-2]))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: flip(run / "state/7/kept-plain/sum.safetensors"), "the saved state of average is damaged"),
        (lambda run: flip(run / "state/7/kept-plain/sum.safetensors", 0), r"sum\.safetensors: cannot be read"),
        (lambda run: flip(run / "state/7/strategies/clamu/cluster-0.bits", 0), "the saved state of clamu is damaged"),
        (lambda run: (run / "state/7/kept-sign_fixed/members.json").write_text("{"), r"members\.json: cannot be read"),
        (lambda run: (run / "state/7/progress.json").unlink(), r"progress\.json: cannot be read"),
        (lambda run: a_mask(run).unlink(), r"\.bits: cannot be read"),
        (lambda run: a_mask(run).write_bytes(b"1"), r"\.bits: damaged: 1 bytes"),
        (lambda run: (run / "scenario.yaml").unlink(), "not a run folder"),
        (edit_scenario, "was changed after the run"),
        (edit_ledger, r"ledger\.jsonl, line \d+: the hash chain is broken"),
        (forge, "its last release of average is not the state"),
        (cut_off, "its last lines are missing"),
    ],
)
def test_damage_is_one_clear_error(run: Path, damage: Any, message: str) -> None:
    client = current(run)[0]
    damage(run)
    for look in (lambda: verify(run), lambda: forget(run, client)):
        with pytest.raises(InputError, match=message):
            look()


def test_a_run_without_its_summary_has_not_finished_and_sums_up_again(run: Path) -> None:
    before, lines = summary_of(run), (run / "ledger.jsonl").read_bytes()
    (run / "summary.json").unlink()
    with pytest.raises(InputError, match=r"has not finished; go on with: unmerge run --resume"):
        verify(run)
    resume(run)
    assert summary_of(run) == before
    assert (run / "ledger.jsonl").read_bytes() == lines  # nothing was owed


def test_what_was_not_erased_is_found(run: Path) -> None:
    gone = records_of(run, "request")[0]["client"]
    left = run / "state/7/kept-sign_fixed/clients/masks-1" / f"{called(gone)}.bits"
    left.write_bytes(b"\0")
    assert verify(run) == ([], [str(left)])  # with traces nothing is rebuilt


NAMES = ("members", "sum", "clients", "merged", "cluster-0", "a/b.c", "vectors", "chosen")
"""Clients who are called as files and folders of a run are."""


@pytest.fixture
def misnamed(tmp_path: Path) -> Path:
    """A run in which six of them have been forgotten, one after another."""
    source, people = tmp_path / "t.jsonl", dict.fromkeys(NAMES, 6) | {f"public {i}": 9 for i in range(4)}
    rows = [{"who": who, "text": f"{who} says {i}", "label": i % 2} for who, count in people.items() for i in range(count)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"family": "table", "source": str(source), "prompt": "{text}:{label}", "client_column": "who", "clients": 8,
            "minimum": 6, "validation": 2, "public_clients": 4}  # fmt: skip
    strategies = ["local", "average", "sift_masks", "ties", "emr", {"clamu": {"clusters": 2, "steps": 1}}]
    run = run_scenario(tiny(data=data, strategies=strategies, stream={"requests": 0}, audit=[]), tmp_path / "run")
    for client in NAMES[:6]:
        forget(run, client)
    return run


def test_a_client_called_as_a_file_is_raises_no_false_alarm_and_what_is_put_back_is_found(misnamed: Path) -> None:
    gone = [record["client"] for record in records_of(misnamed, "request")]
    assert gone == list(NAMES[:6])
    state = misnamed / "state" / "7"
    there = {path.name for path in state.rglob("*")}
    assert {"members.json", "sum.safetensors", "merged.safetensors", "cluster-0.bits", "clients", "vectors"} <= there
    findings, traces = verify(misnamed)
    assert [finding.equal for finding in findings] == [True] * 6
    assert traces == []
    kept, own = state / "kept-plain" / "clients" / "vectors", state / "strategies" / "emr" / "clients"
    staying = sorted(map(called, NAMES[6:]))
    assert sorted(path.stem for path in kept.iterdir()) == sorted(path.stem for path in own.iterdir()) == staying
    for name in NAMES[:6]:
        for left in (
            kept / f"{called(name)}.safetensors",
            *(own / f"{called(name)}.{end}" for end in ("bits", "safetensors")),
        ):
            left.write_bytes(b"\0")
            assert verify(misnamed) == ([], [str(left)])
            left.unlink()
    back = kept / f"{called('merged')}.safetensors"
    back.write_bytes((kept / f"{called('vectors')}.safetensors").read_bytes())
    assert verify(misnamed)[1] == [str(back)]
    back.unlink()
    mask = own / f"{called('sum')}.bits"
    mask.write_bytes((own / f"{called('vectors')}.bits").read_bytes())
    assert verify(misnamed)[1] == [str(mask)]  # the digest speaks of all masks, but a trace is told as a trace
    with pytest.raises(InputError, match="the saved state of emr is damaged"):
        forget(misnamed, "vectors")


def test_a_share_with_many_digits_is_forgotten_and_verified(tmp_path: Path) -> None:
    third = {"sift_masks": {"keep": 0.3333333333, "scale": "counts"}}
    run = run_scenario(tiny(strategies=[third, {"sift_masks": {"label": "other", "keep": 0.3333333334}}]), tmp_path / "run")
    forget(run, current(run)[0])
    kept = run / "state/7/kept-sign_fixed"
    assert sorted(path.name for path in (kept / "clients").glob("masks-*")) == ["masks-0.3333333333", "masks-0.3333333334"]
    assert (kept / "counts-0.3333333333.safetensors").exists()
    assert all(strategy["bitwise_equal"] for strategy in summary_of(run)["strategies"].values())
    findings, traces = verify(run)
    assert [finding.equal for finding in findings] == [True, True]
    assert traces == []
