"""What a strategy looks like in every figure: one colour, marker and line style, whichever others are beside it.

All follow from the strategy's place in the registry. Marker and line style together tell any two strategies apart, so that
a figure is read in grey and by eyes that do not tell colours apart; colours that come back belong to strategies far from
each other. What others are measured by (``REFERENCES``) is grey. Labels of one strategy share its colour.
"""

import zlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from strategies.registry import CEILING, FLOOR, PRIOR, REGISTRY, RETRAINED

# (on white, on dark). After Okabe and Ito's colour-blind-safe set, darkened or left out where too pale for a line on white.
COLOURS = (
    ("#0072b2", "#58aef0"),
    ("#d55e00", "#f58a3c"),
    ("#009e73", "#2fc79c"),
    ("#c0649a", "#e79bc9"),
    ("#a87400", "#e3b341"),
    ("#4b3fa0", "#a99dff"),
    ("#882255", "#dd6a98"),
    ("#6f7d12", "#bccb4f"),
    ("#1b87ab", "#6fd3ee"),
    ("#7a4a2b", "#c99772"),
)
FLOORS, CEILINGS = ("#808890", "#9aa3ac"), ("#3b444d", "#d5dbe1")
PALETTE = (*COLOURS, FLOORS, CEILINGS)
REFERENCES = {FLOOR: FLOORS, PRIOR: FLOORS, CEILING: CEILINGS, RETRAINED: CEILINGS}
MARKERS = "osD^vPX<>ph*"
DOTS: Any = (0, (1, 1.4))
LINES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (5, 1.4, 1, 1.4)), (0, (8, 1.5, 1, 1.5, 1, 1.5)))
STEP = 2
"""So far are colours moved whenever they begin anew."""


class Style(NamedTuple):
    """Colours on white and on dark, marker, and line style, as matplotlib has them."""

    light: str
    dark: str
    marker: str
    line: Any


def style_of(labels: Mapping[str, str]) -> dict[str, Style]:
    """The look of each label.

    A label that is its strategy's only one looks as the strategy does, in every figure. Further labels of a strategy have
    its colour, and a marker and line style that no other label of the figure has.

    Args:
        labels: label to the name of its strategy.
    """
    first = {name: label for label, name in reversed(list(labels.items()))}
    first |= {name: name for name in first if labels.get(name) == name}
    found = {label: _base(name) for name, label in first.items()}
    taken = {style[2:] for style in found.values()}
    for label, name in labels.items():
        if label not in found:
            found[label] = next((style for style in _variants(name) if style[2:] not in taken), _base(name))
            taken.add(found[label][2:])
    return {label: found[label] for label in labels}


def _base(name: str) -> Style:
    """The look of a strategy; one from outside the registry has a place by a checksum of its name."""
    if name in REFERENCES:
        return Style(*REFERENCES[name], MARKERS[list(REFERENCES).index(name)], DOTS)
    ordinary = [known for known in REGISTRY if known not in REFERENCES]
    cycles = len(COLOURS) * len(LINES)
    place = ordinary.index(name) if name in ordinary else zlib.crc32(name.encode()) % cycles
    cycle, number = divmod(place, len(COLOURS))
    colour = COLOURS[(number + STEP * cycle) % len(COLOURS)]
    return Style(*colour, MARKERS[place % len(MARKERS)], LINES[cycle % len(LINES)])


def _variants(name: str) -> Iterator[Style]:
    """Other looks in the same colour: another marker, then also another line."""
    base = _base(name)
    marker, lines = MARKERS.index(base.marker), (base.line, *(line for line in LINES if line != base.line))
    for turn in range(len(lines)):
        for step in range(1, len(MARKERS) + 1):
            yield base._replace(marker=MARKERS[(marker + step) % len(MARKERS)], line=lines[(turn + step) % len(lines)])
