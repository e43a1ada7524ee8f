"""What a strategy's releases take, for any number of members: tunings as counted, localizing as formulas or dry runs tell.

A dry run of a million members would be no dry run. Localizing is asked for at two small numbers of members and at some
numbers of those who leave. Each kind of work then grows with the members as that power of them (0, 1 or 2) that fits both,
and with those who leave as on a line between the numbers that were asked for, and no more beyond the last. Where members and
releases are few, each release is asked for as it is, and nothing is fitted.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from sim.plan import needs
from sim.plan.rehearsal import Rehearsal
from sim.plan.sizes import Members
from sim.plan.work import Release, steps_of
from sim.service.speeds import Seconds
from sim.stream.arrivals import Floats, Ints
from strategies.work import Work

LARGE, SAMPLES = 256, 8
"""Members at most in a dry run; which of them leave is drawn so often where there is a formula."""
POWERS = 3
KINDS = tuple(field.name for field in fields(Work))


@dataclass(frozen=True)
class Counts:
    """Releases by numbers, int64 [r] each.

    Attributes:
        staying: members afterwards.
        leaving, changed, joining: who is forgotten whole, who loses examples, who joins.
        away: of those who leave or change, who cannot be reached and is not waited for.
    """

    staying: Ints
    leaving: Ints
    changed: Ints
    joining: Ints
    away: Ints

    @property
    def many(self) -> Ints:
        """Of how many members something changes."""
        return self.leaving + self.changed + self.joining


@dataclass(frozen=True)
class Priced:
    """Releases of a strategy, float64 [r] each.

    Attributes:
        tunings: clients whose vector is derived.
        tuning: seconds of one.
        localizing: seconds of the rest, on one worker.
        longest: of these what cannot be divided among workers.
        steps: gradient steps of all.
    """

    tunings: Ints
    tuning: float
    localizing: Floats
    longest: Floats
    steps: Floats

    def lengths(self, workers: int) -> tuple[Floats, Floats]:
        """Seconds of taking out, and of all of a release, on so many workers."""
        out = np.ceil(self.tunings / workers) * self.tuning
        return out, out + np.maximum(self.localizing / workers, self.longest)

    @property
    def seconds(self) -> float:
        """Of all releases, on one worker."""
        return float(self.tunings.sum() * self.tuning + self.localizing.sum())


def priced(rehearsal: Rehearsal, label: str, counts: Counts, seconds: Seconds) -> Priced:
    """The price of a strategy's releases."""
    strategy = rehearsal.strategies[label]
    tuned = tunings(rehearsal, label, counts)
    steps = steps_of(strategy.rule, rehearsal.scenario.tuning)
    fit = _fit(rehearsal, label, counts, seconds)
    beside, longest, localizing = (_at(fit, number, counts) for number in range(3))
    return Priced(tuned, seconds.tuning.get(strategy.rule, 0.0), localizing, longest, tuned * steps + beside)


def tunings(rehearsal: Rehearsal, label: str, counts: Counts) -> Ints:
    """How often a strategy's clients are tuned at each release; ``plan.work.tunings``, of numbers."""
    strategy = rehearsal.strategies[label]
    if not strategy.rule:
        return np.zeros_like(counts.staying)
    left = (counts.leaving + counts.changed - counts.away) * strategy.derives
    left += np.where(counts.away > 0, counts.staying, 0) * strategy.derives  # all under the rule is rebuilt
    if strategy.rereads:
        return left + np.where(counts.many > 0, counts.staying, 0)
    late = any(part.joins_late for part in strategy.parts)
    others = np.where(counts.joining + counts.changed > 0, counts.staying - counts.joining - counts.changed, 0)
    return left + counts.changed + counts.joining + others * late


def storage(rehearsal: Rehearsal, label: str, members: int) -> int:
    """Bytes kept for so many members; each kind of files grows with a power of them, as work does."""
    if members <= LARGE:
        return needs.storage(rehearsal, label, imagined(members))
    few, many = (_files(rehearsal, label, count) for count in (LARGE // 2, LARGE))
    powers = [_power(np.array(pair, dtype=np.float64), 2.0) for pair in zip(few, many, strict=True)]
    return sum(round(size * (members / LARGE) ** power) for size, power in zip(many, powers, strict=True))


def _files(rehearsal: Rehearsal, label: str, members: int) -> list[int]:
    """Bytes of each of a strategy's parts, and of its own masks, vectors and other files."""
    strategy, there = rehearsal.strategies[label], imagined(members)
    layout, own = rehearsal.layout(strategy.rule), rehearsal.outcome(label, there)
    parts = [needs.kept_bytes([part], layout, there) for part in strategy.parts]
    return [*parts, own.masks * layout.mask_bytes, own.vectors * layout.vector_bytes, own.other]


def imagined(count: int) -> Members:
    """Names of members."""
    return tuple(f"u{number}" for number in range(count))


@dataclass(frozen=True)
class Fit:
    """Gradient steps, longest and all seconds of localizing.

    Attributes:
        leaving: numbers of those who leave that were asked for.
        members: the larger number of members that was asked for.
        values: by quantity, power of the members and number of those who leave, [3, POWERS, leaving].
    """

    leaving: Sequence[int]
    members: int
    values: Floats


def _fit(rehearsal: Rehearsal, label: str, counts: Counts, seconds: Seconds) -> Fit:
    large = int(np.clip(counts.staying.max(initial=1), 1, LARGE))
    small = max(large // 2, 1)
    most = int(np.clip(counts.many.max(initial=1), 1, LARGE // 2))
    ladder = sorted({*(2**power for power in range(int(math.log2(max(most, 1))) + 1)), most})
    values = np.zeros((3, POWERS, len(ladder)))
    for place, many in enumerate(ladder):
        few, all_ = (_asked(rehearsal, label, members, many) for members in (small, large))
        for kind in KINDS:
            grown = np.array(
                [[getattr(each, kind) for each in pair] for pair in zip(few, all_, strict=True)], dtype=np.float64
            )
            power = _power(grown[0], large / small)
            one = Work(**{kind: 1})
            values[0, power, place] += grown[0, 1] * one.gradient_steps(0)
            values[1, _power(grown[1], large / small), place] += grown[1, 1] * seconds.of(one)
            values[2, power, place] += grown[0, 1] * seconds.of(one)
    return Fit(ladder, large, values)


def _power(grown: Floats, times: float) -> int:
    """The power of the members that fits best, of 0, 1 and 2."""
    few, many = grown
    if few <= 0 or many <= 0 or times <= 1:
        return 0
    return int(np.clip(round(math.log(many / few) / math.log(times)), 0, POWERS - 1))


def _at(fit: Fit, number: int, counts: Counts) -> Floats:
    """One quantity of every release; nothing where nobody leaves or joins."""
    many = counts.many
    ratio = counts.staying / fit.members
    total = sum(np.interp(many, fit.leaving, fit.values[number, power]) * ratio**power for power in range(POWERS))
    return np.where(many > 0, total, 0.0)


def _asked(rehearsal: Rehearsal, label: str, members: int, many: int) -> tuple[Work, Work]:
    """What localizing asks for when so many leave and so many members stay, and of it what cannot be divided; means."""
    everybody, rng = imagined(members + many), random.Random(f"{label}/{members}/{many}")
    formula = rehearsal.strategies[label].work((), ()) is not None
    total = Work()
    for _ in range(SAMPLES if formula else 1):
        gone = set(rng.sample(everybody, many))
        after = tuple(client for client in everybody if client not in gone)
        total += rehearsal.localizing(label, everybody, after)
    longest = rehearsal.outcome(label, everybody, after).longest
    drawn = SAMPLES if formula else 1
    return Work(**{kind: round(getattr(total, kind) / drawn) for kind in KINDS}), longest


def by_name(rehearsal: Rehearsal, label: str, releases: Sequence[Release], seconds: Seconds) -> Priced:
    """The same where everybody has a name: each release as ``plan`` asks for it."""
    from sim.plan.work import tunings as named

    strategy = rehearsal.strategies[label]
    steps = steps_of(strategy.rule, rehearsal.scenario.tuning)
    tuned = np.array([sum(named(rehearsal, label, release)) for release in releases], dtype=np.int64)
    works = [rehearsal.localizing(label, release.unchanged, release.staying) for release in releases]
    longest = [rehearsal.outcome(label, *_history(release)).longest for release in releases]
    return Priced(
        tuned,
        seconds.tuning.get(strategy.rule, 0.0),
        np.array([seconds.of(work) for work in works], dtype=np.float64),
        np.array(
            [min(seconds.of(each), seconds.of(work)) for each, work in zip(longest, works, strict=True)], dtype=np.float64
        ),
        np.array([work.gradient_steps(0) for work in works]) + tuned * steps,
    )


def _history(release: Release) -> list[Members]:
    return [members for members in (release.unchanged, release.staying) if members]
