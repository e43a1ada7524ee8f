"""Looks of strategies: the same in every figure, and told apart without colours."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.report.style import COLOURS, LINES, MARKERS, PALETTE, REFERENCES, style_of
from strategies.registry import REGISTRY

ALL = {name: name for name in REGISTRY}


@settings(deadline=None)
@given(st.sets(st.sampled_from(sorted(REGISTRY)), min_size=1))
def test_a_strategy_looks_the_same_whichever_others_are_there(names: set[str]) -> None:
    whole = style_of(ALL)
    assert style_of({name: name for name in names}) == {name: whole[name] for name in names}


def test_any_two_strategies_differ_without_colour() -> None:
    """In grey, and to eyes that do not tell colours apart."""
    looks = style_of(ALL)
    for one, other in combinations(looks.values(), 2):
        assert (one.marker, one.line) != (other.marker, other.line)


def test_what_others_are_measured_by_is_grey_and_nobody_else_is() -> None:
    for name, style in style_of(ALL).items():
        red, green, blue = (int(style.light[at : at + 2], 16) for at in (1, 3, 5))
        assert (max(red, green, blue) - min(red, green, blue) <= 20) == (name in REFERENCES)


def test_variants_of_a_strategy_share_its_colour_and_differ_in_marker_and_line() -> None:
    labels = {"third": "ties", "ties": "ties", **{f"v{i}": "ties" for i in range(20)}, "average": "average"}
    looks = style_of(labels)
    mine = [looks[label] for label, name in labels.items() if name == "ties"]
    assert looks["ties"] == style_of(ALL)["ties"]  # the label that is the name is the plain one, wherever it stands
    assert looks["average"] == style_of(ALL)["average"]
    assert len({style[:2] for style in mine}) == 1
    assert len({style[2:] for style in looks.values()}) == len(labels)
    alone = style_of({"half": "ties", "other": "average"})
    assert alone["half"] == style_of(ALL)["ties"]
    assert list(looks) == list(labels)


def test_a_strategy_from_outside_keeps_its_look() -> None:
    name = "lab.merging:Mine"
    (alone,) = style_of({"mine": name}).values()
    assert style_of({**ALL, "mine": name})["mine"].light == alone.light
    assert alone.light in {light for light, _ in COLOURS}


def seen(colour: str, kind: np.ndarray | None) -> np.ndarray:
    """CIE Lab of a colour as an eye sees it that lacks a kind of cone (Machado, Oliveira and Fernandes 2009, severity 1)."""
    encoded = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear if kind is None else kind @ linear, 0, 1)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    scaled = to_xyz @ linear / np.array([0.9505, 1.0, 1.089])
    x, y, z = np.where(scaled > 0.008856, np.cbrt(scaled), 7.787 * scaled + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


EYES = {
    "all cones": None,
    "no red": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    "no green": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
    "no blue": np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]),
}


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("eye", EYES)
def test_colours_are_seen(eye: str, side: int) -> None:
    """Every colour stands out from its page, whatever eye looks; where two are near each other, marker and line differ."""
    paper = seen(("#ffffff", "#14181c")[side], EYES[eye])
    for pair in PALETTE:
        assert np.linalg.norm(seen(pair[side], EYES[eye]) - paper) > 40, pair


def test_the_palette_tells_colours_apart_for_eyes_with_all_cones() -> None:
    for side in (0, 1):
        distances = [np.linalg.norm(seen(a[side], None) - seen(b[side], None)) for a, b in combinations(PALETTE, 2)]
        assert min(distances) > 15
    assert len(MARKERS) == len(set(MARKERS)) == 12
    assert len(set(map(str, LINES))) == 4
