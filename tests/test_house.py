"""``make lint`` finds a simulator that asks who its strategy is; import-linter's contracts are tested by its authors."""

import pytest

from tests.house import ROOT, breaches, main


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("isinstance(strategy, object)", "asks isinstance of a strategy"),
        ("isinstance(system.strategies[label], object)", "asks isinstance of a strategy"),
        ("type(strategy) is int", "asks type of a strategy"),
        ("strategy.deletion == 'edit'", "compares deletion"),
        ("strategy.__class__.__name__ == 'x'", "compares __class__, __name__"),
        ("label == 'sisa'", "names the strategy 'sisa'"),
        ("x = {'SiftMasks': 1}", "names the strategy 'SiftMasks'"),
        ("from strategies.work import Work\nisinstance(found, Work)", "asks isinstance of a strategy, or of something that"),
        ("from strategies.work import Work\nmatch found:\n    case Work():\n        pass", "matches the class Work"),
    ],
)
def test_a_breach_is_found_with_its_line(line: str, said: str) -> None:
    (found,) = breaches(ROOT / "sim" / "somewhere.py", line)
    where, _, told = found.partition(": ")
    last = line.splitlines().index("    case Work():") if "match" in line else line.count("\n")
    assert where == f"sim/somewhere.py:{last + 1}"
    assert told.startswith(said)


@pytest.mark.parametrize(
    "line",
    [
        '"""The central strategy is called sisa; see local."""',
        "isinstance(value, int)",
        "strategy.exactness == 'exact'",
        "print(strategy.deletion)",
        "kind == 'inline'",
    ],
)
def test_what_is_allowed_is_no_breach(line: str) -> None:
    assert list(breaches(ROOT / "sim" / "somewhere.py", line)) == []


def test_the_simulator_as_it_is_has_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main() == 0
    assert capsys.readouterr().out == "the simulator asks no strategy who it is: KEPT\n"
