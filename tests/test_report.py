"""The report: right values, one page that needs nothing else, hostile labels harmless, the same bytes every time."""

import base64
import hashlib
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from clients.errors import InputError
from sim.report.drawing.names import spaced
from sim.report.drawing.waiting import backlog
from sim.report.notes import notes
from sim.report.report import write_report
from sim.report.shell import SCRIPT
from sim.report.table import table
from sim.report.times import compressed
from sim.terminal import human_bytes

# label: strategy, deletion rule, held-in before and after, held-out after, steps to learn and forget, storage, verdict
STRATEGIES: dict[str, tuple[str, str, float, float, float, int, int, int, bool | None]] = {
    "zero_shot": ("zero_shot", "erase", 0.112, 0.113, 0.112, 0, 0, 0, True),
    "local": ("local", "erase", 0.873, 0.874, 0.495, 800, 0, 31_500_000, True),
    "average": ("average", "subtract", 0.241, 0.262, 0.203, 800, 400, 6_300_000, True),
    "sift_masks": ("sift_masks", "subtract", 0.792, 0.801, 0.462, 2_400, 480, 10_200_000, True),
    "sift_masks_counts": ("sift_masks", "subtract", 0.797, 0.805, 0.466, 2_400, 480, 13_400_000, True),
    "sift_masks_half": ("sift_masks", "subtract", 0.741, 0.752, 0.433, 2_400, 480, 10_200_000, True),
    "sift_masks_fifth": ("sift_masks", "subtract", 0.655, 0.671, 0.391, 2_400, 480, 10_200_000, True),
    "mask_only": ("mask_only", "erase", 0.530, 0.531, 0.320, 2_000, 0, 4_000_000, True),
    "clamu_clusters": ("clamu", "relearn", 0.601, 0.622, 0.401, 2_800, 18_400, 7_100_000, None),
    "clamu_clients": ("clamu", "relearn", 0.702, 0.711, 0.423, 2_800, 21_200, 10_250_000, False),
    "clamu_sign_fixed": ("clamu", "relearn", 0.689, 0.695, 0.421, 2_800, 19_600, 7_100_000, None),
}


def summary_of(strategies: dict[str, Any] = STRATEGIES, several_seeds: bool = False) -> dict[str, Any]:
    results, curve, spread = {}, {}, {}
    for label, (kind, rule, before, after, outside, learn, forget, storage, equal) in strategies.items():
        approximate = label == "clamu_clusters"
        results[label] = {
            "strategy": kind,
            "exactness": "approximate" if approximate else "exact",
            "deletion": rule,
            "tuning": None if kind == "zero_shot" else "sign_fixed" if kind == "sift_masks" else "plain",
            "parameters": {"keep": 0.5, "alpha": [0.8, 1.0]} if kind == "sift_masks" else {},
            "accuracy": {
                "held_in_before": before,
                "held_in_after": after,
                "held_out_before": before,
                "held_out_after": outside,
                "forgotten_before": before,
                "forgotten_after": 0.112,
            },
            "gradient_steps": {"learn": learn, "forget": forget, "join": 0},
            "parallel_steps": {"learn": learn // 40, "forget": forget // 4, "join": 0},
            "client_tunings": 60,
            "seconds": {"learn": learn / 100, "forget": forget / 100, "join": 0.0},
            "bytes_up": storage * 2,
            "bytes_down": storage,
            "storage_bytes": storage,
            "storage_before": storage * 2,
            "state_digest": f"{len(results):x}" * 64,
            "rebuilt_digest": None if equal is None else ("f" if equal is False else f"{len(results):x}") * 64,
            "bitwise_equal": equal,
        }
        spread[label] = dict.fromkeys(results[label]["accuracy"], 0.0123)
        curve[label] = [
            {
                "events": deleted,
                "deleted": deleted,
                "held_in": before + (after - before) * deleted / 20,
                "held_out": before + (outside - before) * deleted / 20,
                "forgotten": None if deleted == 0 else 0.112,
                "gradient_steps": forget * deleted // 20,
                "storage_bytes": storage,
            }
            for deleted in (0, 10, 20)
        ]
    return {
        "name": "quickstart",
        "scenario_digest": "ab" * 32,
        "metric": "answer_probability",
        "clients": 40,
        "requests": 20,
        "joins": 0,
        "missing": {},
        "allow_missing": 0,
        "gone": 0,
        "seeds": [7, 8, 9] if several_seeds else [7],
        "seconds": 180.2,
        "parameters": {"total": 1_200_000, "tunable": 787_968},
        "environment": {"device": "cpu", "threads": 1, "torch": "2.8.0"},
        "ledger": {"records": 64, "head": "cd" * 32},
        "strategies": results,
        "curve": curve,
        "retrain": [{"deleted": d, "gradient_steps": 20 * sum(40 - k for k in range(1, d + 1))} for d in (0, 10, 20)],
        **({"spread": spread} if several_seeds else {}),
    }


def run_folder(folder: Path, summary: dict[str, Any]) -> Path:
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    return folder


def scriptless(page: str) -> str:
    """The page without its own script, which is there once and is the only one that the policy of the page lets run."""
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'\"" in page
    assert page.count(f"<script>{SCRIPT}</script>") == 1
    assert not re.search(r"https?:|//[a-z]|import|fetch|XMLHttp|innerHTML|eval", SCRIPT)
    return page.replace(f"<script>{SCRIPT}</script>", "")


def terminal(summary: dict[str, Any]) -> str:
    console = Console(width=220, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table(summary))
    return console.export_text()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = run_folder(tmp_path_factory.mktemp("report") / "quick", summary_of())
    assert write_report(folder) == folder / "report.html"
    return folder


def test_who_is_missing_and_whose_data_are_gone_is_told() -> None:
    nothing: dict[str, dict[str, dict[str, str]]] = {}
    assert notes(nothing, 0) == []
    assert notes({"7": {"u3": {"plain": "out of memory", "sign_fixed": "never answered"}}}, 1) == [
        "Seed 7: 1 client is missing: they could not be tuned, and are in no mean.",
        "  u3 (plain): out of memory",
        "  u3 (sign_fixed): never answered",
        "The data of 1 client are gone: their scores are those measured before, and later means are without them.",
    ]
    assert notes(nothing, 0, {"average": None, "ties": "its scores are not finite"}) == [
        "ties failed: its scores are not finite. It has no figures there."
    ]
    many = {f"u{i:02}": {"plain": "no"} for i in range(12)}
    told = notes({"8": many}, 2)
    assert told[0] == "Seed 8: 12 clients are missing: they could not be tuned, and are in no mean."
    assert told[1:11] == [f"  u{i:02} (plain): no" for i in range(10)]
    assert told[11:] == [
        "  and 2 more; summary.json names them.",
        "The data of 2 clients are gone: their scores are those measured before, and later means are without them.",
    ]


def test_the_page_names_who_is_missing(run: Path, tmp_path: Path) -> None:
    summary = summary_of() | {"missing": {"7": {"<u3>": {"plain": "no space left & more"}}}, "gone": 1}
    page = write_report(run_folder(tmp_path / "missing", summary)).read_text(encoding="utf-8")
    assert "&lt;u3&gt; (plain): no space left &amp; more" in page
    assert "The data of 1 client are gone" in page
    assert "<dt>missing</dt>" in page
    assert "<dt>missing</dt>" not in (run / "report.html").read_text(encoding="utf-8")


def test_terminal_table_shows_the_summary() -> None:
    text = terminal(summary_of())
    row = re.split(r"\s{2,}", next(line for line in text.splitlines() if "clamu_clients" in line).strip())
    assert row == [
        "clamu_clients", "yes", "relearn", "0.702 → 0.711", "0.702 → 0.423", "0.702 → 0.112", "2,800 / 21,200", "10.2 MB",
        "DIFFERENT",
    ]  # fmt: skip
    assert re.search(r"clamu_clusters +no .* not run", text)
    assert "20 of 40 clients deleted" in text


def test_spread_and_missing_values_are_shown() -> None:
    summary = summary_of(several_seeds=True)
    summary["strategies"]["local"]["accuracy"]["forgotten_after"] = None
    local = next(line for line in terminal(summary).splitlines() if "local" in line).replace("\N{NO-BREAK SPACE}", " ")
    assert "0.873 ±0.012 → 0.874 ±0.012" in local
    assert "0.873 ±0.012 → –" in local


def test_unseen_clients_have_a_column_where_there_are_any() -> None:
    summary = summary_of()
    assert "unseen" not in terminal(summary)
    for result in summary["strategies"].values():
        result["accuracy"] |= {"unseen_before": 0.345, "unseen_after": 0.344}
    assert "0.345 → 0.344" in next(line for line in terminal(summary).splitlines() if "local" in line)


def test_label_is_no_markup_in_the_terminal() -> None:
    assert "[red]x[/nosuch]" in terminal(summary_of({"[red]x[/nosuch]": STRATEGIES["local"]}))


def test_narrow_terminal_cuts_nothing_off() -> None:
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table(summary_of()))
    assert "…" not in console.export_text()


def test_page_holds_the_results(run: Path) -> None:
    page = (run / "report.html").read_text(encoding="utf-8")
    rows = [re.sub(r"<[^>]+>", "|", row) for row in re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)]
    local = next(row for row in rows if "|local|" in row)
    for cell in ("|yes|", "|erase|", "|0.873 → 0.874|★", "|0.873 → 0.495|★", "|800 / 0|", "|31.5 MB|", "✓ equal"):
        assert cell in local
    assert "✗ DIFFERENT" in page
    assert "8 equal, 1 different, 2 not run" in page
    for digest in ("ab" * 32, "cd" * 32, "3" * 64, "f" * 64):
        assert digest in page


def test_page_needs_nothing_else(run: Path) -> None:
    page = scriptless((run / "report.html").read_text(encoding="utf-8"))
    assert "http:" not in page
    assert "https:" not in page
    for target in re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]+)|url\(([^)]+)\)""", page):
        assert "".join(target).startswith("#")
    assert not re.search(r"<(script|link|img|iframe|object)\b|@import", page)
    assert page.count("<svg") == page.count("</svg>") == 3


def test_inlined_figures_share_no_ids_and_refer_to_their_own(run: Path) -> None:
    page = (run / "report.html").read_text(encoding="utf-8")
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'xlink:href="#([^"]+)"|url\(#([^)]+)\)', page)) <= {(i, "") for i in ids} | {("", i) for i in ids}


def test_every_strategy_is_named_in_every_figure(run: Path) -> None:
    for name in ("accuracy", "cost", "storage"):
        svg = (run / "figures" / f"{name}.svg").read_text(encoding="utf-8")
        assert all(f">{label}</text>" in svg for label in STRATEGIES)
        assert (run / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert ">retrain from scratch</text>" in (run / "figures" / "cost.svg").read_text(encoding="utf-8")


def test_same_summary_gives_the_same_bytes(run: Path, tmp_path: Path) -> None:
    again = run_folder(tmp_path / "quick", summary_of())
    write_report(again)
    files = sorted(path.relative_to(run) for path in run.rglob("*") if path.is_file())
    assert len(files) == 8
    for file in files:
        assert (again / file).read_bytes() == (run / file).read_bytes(), file


def test_hostile_labels_and_values_do_no_harm(tmp_path: Path) -> None:
    hostile = "</text></svg><script>alert('$x^2$ & \"')</script>\n\x00"
    summary = summary_of({hostile: STRATEGIES["local"], "$\\frac{$ {{ 7 * 7 }}": STRATEGIES["average"]})
    summary["name"] = summary["metric"] = "<img src=x $\\q$>"
    summary["environment"] = {"<b>": {"a": ["<i>"]}}
    summary["strategies"][hostile]["parameters"] = {"<u>": "<s>"}
    page = scriptless(write_report(run_folder(tmp_path / "<em>", summary)).read_text(encoding="utf-8"))
    assert not re.search(r"<(script|img|i|u|s|em)\b", page)
    assert "&lt;script&gt;alert(" in page
    assert "{{ 7 * 7 }}" in page
    assert page.count("<svg") == page.count("</svg>") == 3


def test_several_runs_are_compared(run: Path, tmp_path: Path) -> None:
    other = run_folder(tmp_path / "big", summary_of({"local": STRATEGIES["local"]}))
    same_name = run_folder(tmp_path / "x" / "big", summary_of({"local": STRATEGIES["local"]}, several_seeds=True))
    page = write_report(other, [run, same_name]).read_text(encoding="utf-8")
    for label in ("big/local", "quick/local", "quick/sift_masks", "big (2)/local"):
        assert f">{label}</text>" in page
        assert f'<th scope="row">{label.replace("/", "/<wbr>")}</th>' in page


def test_run_without_deletions_or_values_has_a_report(tmp_path: Path) -> None:
    summary = summary_of({"zero_shot": STRATEGIES["zero_shot"]})
    summary["curve"]["zero_shot"] = summary["curve"]["zero_shot"][:1]
    summary["curve"]["zero_shot"][0] |= {"held_in": None, "held_out": None}
    summary["strategies"]["zero_shot"]["accuracy"] = dict.fromkeys(summary["strategies"]["zero_shot"]["accuracy"])
    summary["retrain"] = summary["retrain"][:1]
    assert "– → –" in write_report(run_folder(tmp_path / "empty", summary)).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "cannot be read"),
        ("{", "not JSON"),
        ("\ud800", "not JSON"),
        ("[]", "the whole file"),
        (json.dumps(summary_of() | {"curve": {}}), "nothing for average"),
        (json.dumps({k: v for k, v in summary_of().items() if k != "ledger"}), "at ledger"),
    ],
)
def test_missing_or_damaged_summary_is_an_input_error(tmp_path: Path, content: str | None, what: str) -> None:
    if content is not None:
        (tmp_path / "summary.json").write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError, match=what) as error:
        write_report(tmp_path)
    assert str(tmp_path / "summary.json") in str(error.value)
    assert "run its scenario.yaml again" in str(error.value)
    assert not (tmp_path / "report.html").exists()


def test_bytes_are_human() -> None:
    assert [human_bytes(n) for n in (0, 999, 1000, 1530, 999_600, 12_345_678, 4.2e9)] == [
        "0 B", "999 B", "1 kB", "1.5 kB", "1 MB", "12.3 MB", "4.2 GB",
    ]  # fmt: skip


def test_labels_keep_their_distance_and_order() -> None:
    places = spaced([50, 51, 50, 10, 99], 10, 0, 100)
    ordered = sorted(places)
    assert all(b - a >= 10 - 1e-9 for a, b in pairwise(ordered))
    assert places[2] < places[0] < places[1]
    assert 0 <= ordered[0] <= ordered[-1] <= 100
    assert spaced([1, 1, 1], 10, 0, 10) == pytest.approx([10, 5, 0])
    assert spaced([], 10, 0, 10) == []


# -- time to forget -----------------------------------------------------------------------------------------------------


def test_the_backlog_over_time_by_hand() -> None:
    days, steps = backlog([1.0, 2.0, 2.0], [2.0, 5.0, 5.0])
    assert (days, steps) == ([0.0, 1.0, 2.0, 5.0], [0.0, 1.0, 2.0, 0.0])


def test_compressed_time_is_said() -> None:
    assert "250 days that it is 2,976 times the 84 deletions per million" in compressed(2976.2, 250)
    assert compressed(1.2, 365) == compressed(None, 365) == compressed(9.0, None) == ""


def timed(summary: dict[str, Any]) -> dict[str, Any]:
    """The summary of a run that tells times."""
    time = {"median": 12.5, "p95": 30.0, "p99": 31.0, "max": 31.0, "late_share": 0.25}
    for result in summary["strategies"].values():
        result |= {"time_to_forget": time, "backlog": {"most": 3, "mean": 1.5}, "utilisation": 0.01}
    for points in summary["curve"].values():
        for number, point in enumerate(points):
            point["day"] = 100.0 * number
    times = {"arrival": [1.0, 2.0, 60.0], "published": {label: [14.0, 33.0, 71.0] for label in summary["strategies"]}}
    return summary | {"times": times, "days": 365.0, "deadline": 30.0, "compressed": 2976.2, "refused": 0}


def test_the_page_tells_the_time_to_forget(tmp_path: Path) -> None:
    summary = timed(summary_of())
    page = write_report(run_folder(tmp_path / "timed", summary)).read_text(encoding="utf-8")
    assert "<h2>Time to forget</h2>" in page
    assert "it is 2,976 times" in page
    for label in summary["strategies"]:
        assert f">{label}</text>" in page
    assert '<td class="number">12.5</td>' in page  # the median
    assert '<td class="number">25 %</td>' in page  # late
    assert '<td class="number">1.5 / 3</td>' in page  # waiting
    for name in ("waiting", "backlog", "over_time"):
        assert (tmp_path / "timed" / "figures" / f"{name}.svg").stat().st_size > 1000
    plain = write_report(run_folder(tmp_path / "plain", summary_of())).read_text(encoding="utf-8")
    assert "Time to forget" not in plain
    assert not (tmp_path / "plain" / "figures" / "waiting.svg").exists()
