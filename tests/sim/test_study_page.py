"""The report of a study, on results that are made by hand."""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matplotlib.figure import Figure
from typer.testing import CliRunner

from clients.errors import InputError
from sim.cli import app
from sim.report.study_page import words, write_study_report
from sim.report.study_results import folded, gaps, outcomes_at, read_study
from tests.test_report import run_folder, scriptless, summary_of

AXES = {"clients": [2, 50], "stream.release": ['{"every": 1}', '{"every": 5}']}
LABELS = {
    "base": ("zero_shot", "exact", 0.5, 0, 0, 0),
    "alone": ("local", "exact", 0.9, 1000, 40, 0),
    "half": ("sift_masks", "exact", 0.88, 100, 40, 200),
    "<b>loose</b>": ("negmerge", "approximate", 0.7, 50, 40, 10),
}
"""Label: strategy, exactness, accuracy, bytes, steps of learning and of deletions at 50 clients."""


def rows_of(seeds: tuple[int, ...] = (1, 2)) -> list[dict[str, Any]]:
    return [
        {
            "point": f"clients={clients},release={number},seed={seed}",
            "seed": seed,
            "clients": clients,
            "stream.release": release,
            "label": label,
            "strategy": strategy,
            "exactness": exactness,
            "deletion": "subtract",
            "accuracy.held_in_after": accuracy + 0.01 * seed - (0.1 if clients == 50 and label == "half" else 0.0),
            "storage_bytes": storage * clients,
            "gradient_steps.learn": learn * clients,
            "gradient_steps.forget": forget,
            "seconds.learn": 1.5,
            "seconds.forget": 0.25,
            "bitwise_equal": exactness == "exact" if seed == 1 else None,
            "above_prior.low": None,
            "requests": 10,
        }
        for clients in AXES["clients"]
        for number, release in enumerate(AXES["stream.release"])
        for seed in seeds
        for label, (strategy, exactness, accuracy, storage, learn, forget) in LABELS.items()
    ]


def study_folder(folder: Path, rows: list[dict[str, Any]], **more: Any) -> Path:
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "results.parquet")
    seeds = sorted({row["seed"] for row in rows}) or [1]
    about = {"name": "grid", "metric": "answer_probability", "axes": AXES, "seeds": seeds, "strategies": list(LABELS)}
    points = {"done": len({row["point"] for row in rows}), "asked": 4 * len(seeds)}
    (folder / "study.yaml").touch()
    (folder / "study.json").write_text(json.dumps(about | {"points": points, "verdicts": []} | more), encoding="utf-8")
    return folder


VERDICTS = [
    {"claim": "half <wins>", "source": "SIFT, Fig. 1", "holds": True, "why": "0.88 against 0.7", "published": "0.9"},
    {"claim": "loose wins", "source": "SIFT, Fig. 2", "holds": False, "why": "", "published": ""},
    {"claim": "never asked", "source": "", "holds": None, "why": "no such point", "published": ""},
]


def unpainted(figure: Figure, path: Path, name: str) -> str:
    """Stands for ``written`` where a figure is not looked at: painting takes half a second each."""
    path.parent.mkdir(exist_ok=True)
    for kind in ("svg", "png"):
        path.with_suffix(f".{kind}").touch()
    return f'<svg><g id="{name}-figure"/></svg>'


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = study_folder(tmp_path_factory.mktemp("studies") / "grid", rows_of(), verdicts=VERDICTS, seconds=61.2)
    run_folder(folder / "points" / "clients=2,release=0,seed=1", summary_of())
    (folder / "points" / "clients=2,release=0,seed=1" / "report.html").write_text("")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sim.report.study_page.written", unpainted)
        assert write_study_report(folder) == folder / "report.html"
    return folder


@pytest.fixture(scope="module")
def page(study: Path) -> str:
    return scriptless((study / "report.html").read_text(encoding="utf-8"))


def cells(row: str) -> list[str]:
    return [re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)]


def test_every_row_stands_in_the_table(page: str) -> None:
    table = page[page.index('id="points"') :]
    rows = [cells(row) for row in re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)]
    assert len(rows) == 1 + 2 * 2 * 2 * 4
    heading = [cell.replace("\n", " ") for cell in rows[0]]
    assert heading == [
        "strategy", "clients", "stream.\u200brelease", "seed", "exact?", "deletion rule", "held-in after", "gap to local",
        "storage", "steps of learning", "steps per deletion", "client seconds", "bitwise check", "run",
    ]  # fmt: skip
    half = next(row for row in rows if row[:4] == ["half", "50", "{&#34;every&#34;: 1}", "2"])
    assert half[4:] == [
        "yes", "subtract", "0.800", "+0.120", "5 kB", "2,000", "20", "1.8", "not run", "clients=50,release=0,seed=2",
    ]  # fmt: skip
    loose = next(row for row in rows if row[0].startswith("&lt;b&gt;loose&lt;"))
    assert (loose[4], loose[12]) == ("no", "approximate")


def test_values_are_sorted_by_their_numbers_and_filtered_by_their_words(page: str) -> None:
    assert '<td class="number" data-value="5000">5 kB</td>' in page
    assert re.search(r'<label>Clients <select data-column="1"><option value="">all</option><option>2</option>', page)
    assert re.search(r'<label>Exact <select data-column="4">.*?<option>yes</option><option>no</option></select>', page)
    assert '<div class="filters" data-table="points" role="search" aria-label="Filter the table" hidden>' in page


def test_a_point_with_a_report_of_its_own_is_linked(page: str) -> None:
    links = re.findall(r'<a href="([^"]+)">([^<]+)</a>', page)
    assert set(links) == {("points/clients%3D2%2Crelease%3D0%2Cseed%3D1/report.html", "clients=2,release=0,seed=1")}


def test_the_page_of_a_study_needs_nothing_else(page: str) -> None:
    assert not re.search(r"<(script|link|img|iframe|object|b)\b[^>]*(src|loose)|@import|https?:", page)
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert "Accuracy is mean answer probability." in page
    assert "The study took 61 s." in page


def test_figures_stand_with_their_files_and_command(study: Path, page: str) -> None:
    found = {path.name for path in (study / "figures").iterdir()}
    # clients: for each of two plans of release; release: for each of two numbers of clients; four points
    axes = ("clients", "clients-2", "stream-release", "stream-release-2")
    along = {f"{kind}-by-{axis}" for kind in ("accuracy", "storage", "work") for axis in axes}
    names = along | {f"pareto-{n}" for n in range(1, 5)}
    assert found == {f"{name}.{kind}" for name in names for kind in ("svg", "png")}
    assert page.count("<svg") == page.count("<figcaption>") == len(names)
    for name in names:
        assert (
            f"<code>figures/{name}.svg</code>, <code>figures/{name}.png</code>, made by <code>unmerge report grid</code>"
            in page
        )
    assert "who each tune alone; below zero is better than alone. Lines: means over seeds; bands: least and most" in page
    assert "Bars: least and most over seeds" in page


def test_verdicts_are_told(page: str) -> None:
    rows = [cells(row) for row in re.findall(r"<tr>(.*?)</tr>", page[page.index("<h2>Claims</h2>") :], re.DOTALL)][1:4]
    assert rows == [
        ["half &lt;wins&gt;", "SIFT, Fig. 1", "✓ holds", "0.88 against 0.7", "0.9"],
        ["loose wins", "SIFT, Fig. 2", "✗ does not hold", "", ""],
        ["never asked", "", "– not decided", "no such point", ""],
    ]


def test_the_study_in_words(study: Path) -> None:
    told = words(read_study(study))
    beside = '(release {"every": 1})'
    assert list(told) == ["", f"Along clients {beside}", f"At clients 50 {beside}"]
    assert told[""] == ["1 of 3 claims hold; 1 could not be decided."]
    assert told[f"Along clients {beside}"][0] == "half is the most accurate exact strategy at every value of clients."
    assert told[f"At clients 50 {beside}"] == [
        "half recovers 70 % of alone at 10 % of its storage.",  # (0.795 - 0.515) / (0.915 - 0.515)
        "A deletion from half takes 20 gradient steps.",
        "alone needs no gradient step to forget.",
        "<b>loose</b> is approximate: no deletion is exact there.",
    ]


def test_without_an_axis_of_numbers_every_point_speaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim.report.study_page.written", unpainted)
    rows = [row for row in rows_of((1,)) if row["clients"] == 2 and row["label"] != "alone"]
    folder = study_folder(tmp_path / "plans", rows, axes={"stream.release": AXES["stream.release"]})
    assert list(words(read_study(folder))) == ['release {"every": 1}', 'release {"every": 5}']
    page = write_study_report(folder).read_text(encoding="utf-8")
    assert "least and most over seeds" not in page
    assert "<h2>Claims</h2>" not in page
    assert "Held-in: mean over current clients" in page
    assert "who each tune alone; below zero" not in page  # there is nobody who does


def test_outcomes_of_a_point_by_hand(study: Path) -> None:
    told = read_study(study)
    found = {each.label: each for each in outcomes_at(told.at((50, '{"every": 1}')))}
    half = found["half"]
    assert half.accuracy == pytest.approx(0.795)
    assert half.bounds == pytest.approx((0.79, 0.80))
    assert (half.strategy, half.exact, half.storage, half.learn, half.per_deletion) == ("sift_masks", True, 5000, 2000, 20)
    assert (half.equal, half.above) == (None, None)  # one seed was not checked
    assert not found["<b>loose</b>"].exact
    gap = gaps(told.rows)
    assert [gap(row) for row in told.at((2, '{"every": 1}')) if row["label"] == "half"] == pytest.approx([0.02, 0.02])
    assert folded([1.0, 3.0]) == (2.0, 1.0, 3.0)
    assert folded([1.0, None]) == folded([]) == (None, None, None)


def test_rows_stand_along_the_axes_however_they_were_written(tmp_path: Path) -> None:
    read = read_study(study_folder(tmp_path / "study", rows_of()[::-1]))
    expected = [(clients, release, seed) for clients in (2, 50) for release in AXES["stream.release"] for seed in (1, 2)]
    assert [(row["clients"], row["stream.release"], row["seed"]) for row in read.rows][::4] == expected
    assert list(read.strategies) == list(LABELS)[::-1]


def test_an_unfinished_study_says_so(tmp_path: Path) -> None:
    rows = [row for row in rows_of((1,)) if row["clients"] == 2]
    folder = study_folder(tmp_path / "half way", rows)
    page = write_study_report(folder).read_text(encoding="utf-8")
    for name in ("accuracy-by-stream-release", "pareto-1"):  # painted: with all names, and the categories of the axis
        drawn = (folder / "figures" / f"{name}.svg").read_text(encoding="utf-8")
        assert all(f">{label}</text>" in drawn for label in ("base", "alone", "half", "&lt;b&gt;loose&lt;/b&gt;"))
        assert (folder / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert '>{"every": 5}</text>' in (folder / "figures" / "accuracy-by-stream-release.svg").read_text(encoding="utf-8")
    assert "2 of 4 points are done. Go on with: <code>unmerge run --resume half way</code>" in page


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "study.json").write_text("{"), "study.json: damaged, not JSON"),
        (lambda folder: (folder / "study.json").write_text("{}"), "study.json: damaged at name (Field required)"),
        (lambda folder: (folder / "results.parquet").unlink(), "results.parquet: cannot be read (No such file"),
        (lambda folder: (folder / "results.parquet").write_bytes(b"no"), "results.parquet: cannot be read as parquet"),
        (
            lambda folder: pq.write_table(pa.table({"seed": [1], "clients": [2]}), folder / "results.parquet"),
            "results.parquet: has no column point, label, strategy",
        ),
        (
            lambda folder: pq.write_table(pq.read_table(folder / "results.parquet").slice(0, 0), folder / "results.parquet"),
            "results.parquet: no point is done yet",
        ),
    ],
)
def test_a_damaged_study_is_an_input_error(tmp_path: Path, damage: Any, message: str) -> None:
    folder = study_folder(tmp_path / "study", rows_of((1,)))
    damage(folder)
    with pytest.raises(InputError) as error:
        write_study_report(folder)
    assert str(error.value).startswith(f"{folder / message.split(':')[0]}:")
    assert message in str(error.value)
    assert "unmerge run --resume STUDY" in str(error.value)
    assert not (folder / "report.html").exists()


def test_the_command_reports_a_study_alone(study: Path, tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run", summary_of())
    done = CliRunner().invoke(app, ["report", str(run), str(study)])
    assert str(done.exception) == f"report: {study} is a study; give it alone, or runs alone"
