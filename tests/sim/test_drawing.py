"""What figures show: axes, rings, bands, names; and the files they are written to."""

import json
import struct
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection

from clients.errors import InputError
from sim.report.drawing.canvas import RC, band, look_of, magnitudes, panels, plain, written
from sim.report.drawing.pareto import pareto_figure
from sim.report.drawing.study import Curve, Panel, along_figure, is_logarithmic
from sim.report.outcome import Outcome
from sim.report.seeds import bounds_of
from sim.report.style import style_of
from sim.report.summary import Summary
from tests.test_report import run_folder, summary_of

STYLES = style_of({"one": "average", "two": "ties", "three": "ridge"})


def rings(axes: Axes) -> list[tuple[float, float]]:
    return [(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in axes.lines if line.get_markersize() == 13]


def test_the_pareto_view_rings_who_is_dominated_by_no_other() -> None:
    outcomes = [
        Outcome("one", "average", True, 0.9, 1000.0, 10, 5.0),
        Outcome("two", "ties", True, 0.8, 2000.0, 10, 7.0),  # worse than one in all
        Outcome("three", "ridge", True, 0.7, 3000.0, 0, 0.0),  # free to forget
    ]
    with matplotlib.rc_context(RC):
        figure = pareto_figure(outcomes, STYLES, "accuracy")
    storage, deletion = figure.axes
    assert rings(storage) == [(1000.0, 0.9), (3000.0, 0.7)]
    assert rings(deletion) == [(5.0, 0.9), (0.0, 0.7)]
    assert (storage.get_xscale(), deletion.get_xscale()) == ("log", "symlog")
    assert storage.xaxis.get_major_formatter()(2000.0, 0) == "2 kB"
    assert [text.get_text() for text in storage.texts] == ["one", "two", "three"]


def test_without_deletions_there_is_no_price_of_them() -> None:
    with matplotlib.rc_context(RC):
        figure = pareto_figure([Outcome("one", "average", True, 0.9, 1000.0, 10, None)], STYLES, "accuracy")
    assert len(figure.axes) == 1


@pytest.mark.parametrize(
    ("axis", "values", "logarithmic"),
    [
        ("clients", [2, 5, 10], True),
        ("data.clients", [40, 80], True),
        ("tuning.steps", [5, 10, 20], False),
        ("tuning.steps", [5, 10, 50], True),
        ("stream.requests", [0, 100], False),  # zero has no place on it
        ("clients", [0, 5], False),
    ],
)
def test_axes_that_are_logarithmic(axis: str, values: list[float], logarithmic: bool) -> None:
    assert is_logarithmic(axis, values) is logarithmic


def test_along_an_axis_means_are_lines_and_seeds_are_bands() -> None:
    looks = {label: look_of(style) for label, style in STYLES.items()}
    one = Curve("one", looks["one"], [2.0, 50.0], [0.5, 0.6], [(0.4, 0.7), (0.55, 0.65)])
    two = Curve("two", looks["two"], [2.0, 50.0], [0.7, None], [(0.7, 0.7), (None, None)])
    bytes_ = Curve("one", looks["one"], [2.0, 50.0], [1e3, 1e6], [(1e3, 1e3), (1e6, 1e6)])
    made = [Panel("Accuracy", "accuracy", "plain", [one, two]), Panel("Storage", "bytes", "bytes", [bytes_])]
    with matplotlib.rc_context(RC):
        figure = along_figure("clients", [(2.0, "2"), (50.0, "50")], True, made)
    accuracy, storage = figure.axes
    assert accuracy.get_xscale() == storage.get_xscale() == "log"
    assert storage.get_yscale() == "log"
    (drawn,) = [each for each in accuracy.collections if isinstance(each, PolyCollection)]  # two has one seed
    corners = {tuple(np.round(vertex, 9)) for vertex in drawn.get_paths()[0].vertices}
    assert {(2.0, 0.4), (2.0, 0.7), (50.0, 0.55), (50.0, 0.65)} == corners
    assert not [each for each in storage.collections if isinstance(each, PolyCollection)]
    assert [each.get_text() for each in accuracy.texts] == ["one", "two"]
    assert accuracy.lines[0].get_ydata().tolist() == [0.5, 0.6]
    assert [tick.get_text() for tick in accuracy.get_xticklabels()] == ["2", "50"]


def test_files_are_vectors_and_200_dots_an_inch(tmp_path: Path) -> None:
    with matplotlib.rc_context(RC):
        figure, (axes,) = panels(1, ["one"])
        band(axes, [0.0, 1.0], [(0.0, 1.0), (None, None)], "#0072b2", 1)
        inlined = written(figure, tmp_path / "shape", "shape")
    png = (tmp_path / "shape.png").read_bytes()
    wide, high = struct.unpack(">II", png[16:24])
    assert (wide, high) == pytest.approx((12.0 * 200, float(figure.get_size_inches()[1]) * 200), abs=1)
    assert "<svg" in (tmp_path / "shape.svg").read_text(encoding="utf-8")
    assert "var(--series-0)" in inlined


def seeded(folder: Path, curves: dict[int, list[tuple[float | None, float]]]) -> tuple[Path, Summary]:
    """A run of three strategies whose seeds have these accuracies and steps along their curves."""
    summary = summary_of({"local": ("local", "erase", 0.8, 0.8, 0.5, 1, 0, 1, True)})
    summary |= {"seeds": list(curves)}
    summary["curve"]["local"] = summary["curve"]["local"][: len(curves[next(iter(curves))])]
    run_folder(folder, summary)
    for seed, points in curves.items():
        (folder / "state" / str(seed)).mkdir(parents=True)
        curve = [{"strategies": {"local": {"held_in": a, "held_out": a, "gradient_steps": s}}} for a, s in points]
        (folder / "state" / str(seed) / "progress.json").write_text(json.dumps({"curve": curve}), encoding="utf-8")
    return folder, Summary.model_validate(summary)


def test_bounds_over_seeds_by_hand(tmp_path: Path) -> None:
    run, summary = seeded(
        tmp_path / "three", {1: [(0.5, 0), (0.6, 20)], 2: [(0.7, 0), (None, 25)], 3: [(0.4, 0), (0.9, 10)]}
    )
    assert bounds_of(run, summary) == {
        "local": {"held_in": [(0.4, 0.7), (None, None)], "held_out": [(0.4, 0.7), (None, None)], "steps": [(0, 0), (10, 25)]}
    }
    (run / "state" / "2" / "progress.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"state/2/progress\.json: damaged"):
        bounds_of(run, summary)
    (run / "state" / "2" / "progress.json").unlink()
    assert bounds_of(run, summary) == {}
    assert bounds_of(*seeded(tmp_path / "one", {1: [(0.5, 0)]})) == {}


def test_values_on_axes() -> None:
    values = [0.01, 0.5, 20, 999, 1000, 20_000, 10**6, 2.5 * 10**6, 10**10]
    assert [plain(value) for value in values] == [
        "0.01", "0.5", "20", "999", "1,000", "20,000", "1 M", "2.5 M", "10,000 M",
    ]  # fmt: skip


def test_magnitudes_have_a_place_for_zero_where_it_is_needed() -> None:
    _, (axes, other) = panels(2, [])
    magnitudes(axes, "x", [20.0, 500.0])
    assert (axes.get_xscale(), axes.xaxis.get_majorticklocs().tolist()) == ("log", [10, 20, 50, 100, 200, 500])
    magnitudes(other, "y", [0.0, 20.0, 42.0])
    assert (other.get_yscale(), other.yaxis.get_majorticklocs().tolist()) == ("symlog", [0, 10, 20, 50])
