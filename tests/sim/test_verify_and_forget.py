"""A finished run: verified, asked to forget more, and damaged in every way."""

import json
from pathlib import Path
from typing import Any

import pytest
from sim.forget import forget
from test_run import records_of, summary_of
from tiny_scenario import tiny

from clients.errors import InputError
from sim.life.system import build
from sim.proof.verify import verify
from sim.run import run_scenario
from sim.scenario.file import load_scenario


def current(run: Path) -> list[str]:
    forgotten = {record["client"] for record in records_of(run, "request")}
    return [f"u{i}" for i in range(8) if f"u{i}" not in forgotten]


def flip(path: Path, at: int = -8) -> None:
    """Change one bit; -8 is the lowest byte of the last int64."""
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
    assert not [path for path in (run / "state").rglob("*") if path.name.split(".")[0] == client]

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
    system = build(load_scenario(str(run / "scenario.yaml")), 7, run / "state" / "7", load=True)
    record["state_digest"] = system.digests()
    path.write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: flip(run / "state/7/kept-plain/sum.safetensors"), "the saved state of average is damaged"),
        (lambda run: flip(run / "state/7/kept-plain/sum.safetensors", 0), r"sum\.safetensors: cannot be read"),
        (lambda run: flip(run / "state/7/strategies/clamu/cluster-0.bits", 0), "the saved state of clamu is damaged"),
        (lambda run: (run / "state/7/kept-sign_fixed/members.json").write_text("{"), r"members\.json: cannot be read"),
        (lambda run: (run / "state/7/progress.json").unlink(), r"progress\.json: cannot be read"),
        (lambda run: next((run / "state/7/kept-sign_fixed/masks-1").iterdir()).unlink(), r"\.bits: cannot be read"),
        (lambda run: next((run / "state/7/kept-sign_fixed/masks-1").iterdir()).write_bytes(b"1"), r"\.bits: holds 1 bytes"),
        (lambda run: (run / "summary.json").unlink(), "did not finish"),
        (lambda run: (run / "scenario.yaml").unlink(), "not a run folder"),
        (edit_scenario, "was changed after the run"),
        (edit_ledger, r"ledger\.jsonl, line \d+: the hash chain is broken"),
        (forge, "its last release of average is not the state"),
    ],
)
def test_damage_is_one_clear_error(run: Path, damage: Any, message: str) -> None:
    client = current(run)[0]
    damage(run)
    for look in (lambda: verify(run), lambda: forget(run, client)):
        with pytest.raises(InputError, match=message):
            look()


def test_what_was_not_erased_is_found(run: Path) -> None:
    gone = records_of(run, "request")[0]["client"]
    left = run / "state/7/kept-sign_fixed/masks-1" / f"{gone}.bits"
    left.write_bytes(b"\0")
    assert verify(run)[1] == [str(left)]
