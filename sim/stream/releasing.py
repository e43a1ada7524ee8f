"""When models are published again: which requests are carried out together, and on which day. Arrays, whatever their number.

Plans follow from arrivals alone, not from how long a release takes: a run is the same on a fast and on a slow machine.
"""

from typing import Any

import numpy as np

from clients.errors import InputError
from sim.scenario.stream import ReleaseSpec, StreamSpec
from sim.stream.arrivals import Floats, Ints
from sim.stream.drawing import JOINS, Drawn

Ends = tuple[Ints, Floats]
"""Of each release where its requests end among all, and its day."""


def releases(day: Floats, spec: ReleaseSpec, deadline: float | None = None) -> Ends:
    """The releases of requests that arrive on these days, sorted: each is released once, on the day it arrives or later.

    Args:
        deadline: days from arrival to publication; it is there if the plan needs it.

    Raises:
        InputError: a calendar ends before the requests do.
    """
    if not len(day):
        return np.empty(0, dtype=np.int64), np.empty(0)
    if spec.before_deadline is not None:
        assert deadline is not None
        return _before(day, deadline - spec.before_deadline, spec.every)
    if spec.plain:
        assert spec.every is not None
        ends = np.minimum(np.arange(spec.every, len(day) + spec.every, spec.every), len(day))
        return ends, day[ends - 1]
    dates = _dates(spec, float(day[-1]))
    if dates[-1] < day[-1]:
        late = int((day > dates[-1]).sum())
        raise InputError(
            f"stream.release.calendar: ends on day {dates[-1]:g}, and {late:,} requests come later, the last on day "
            f"{day[-1]:g}; add later days"
        )
    window = np.searchsorted(dates, day, side="left")
    return _chunked(window, dates[window], day, spec.every)


def published_by(ends: Ints, count: int) -> Ints:
    """The number of the release that each of so many requests is part of."""
    return np.searchsorted(ends, np.arange(count), side="right")


def check(spec: StreamSpec, stream: Drawn) -> Ends:
    """The releases of a stream, once they are found to make sense.

    Raises:
        InputError: a calendar ends before the requests do, or no request can be published in time.
    """
    ends, days = releases(stream.day, spec.release, spec.deadline)
    asked = stream.kind != JOINS
    if spec.deadline is not None and asked.any():
        waited = (days[published_by(ends, len(stream))] - stream.day)[asked]
        if waited.min() > spec.deadline:
            raise InputError(
                f"stream.deadline: {spec.deadline:g} days cannot be met: the release plan lets every request wait for "
                f"{waited.min():.3g} days or more; release earlier or more often"
            )
    return ends, days


def _dates(spec: ReleaseSpec, last: float) -> Floats:
    """The days of a plan, until the first that is not before the last request."""
    if spec.calendar is not None:
        return np.array(spec.calendar, dtype=np.float64)
    assert spec.days is not None
    return spec.days * np.arange(1.0, int(last / spec.days) + 3)


def _chunked(window: Ints, due: Floats, day: Floats, every: int | None) -> Ends:
    """The requests of each window together on the day that is due; with ``every`` so many as soon as they are there."""
    last = np.append(window[1:] != window[:-1], True)
    if every is not None:
        starts = np.maximum.accumulate(np.where(np.append(True, last[:-1]), np.arange(len(day)), 0))
        full = (np.arange(len(day)) - starts + 1) % every == 0
        due, last = np.where(full, day, due), last | full
    ends = np.flatnonzero(last) + 1
    return ends, due[ends - 1]


def _before(day: Floats, patience: float, every: int | None) -> Ends:
    """Whoever waits is released when the first of them has waited so long, or when so many are there."""
    ends: list[int] = []
    days: list[float] = []
    start = 0
    while start < len(day):
        due = float(day[start]) + patience
        end = int(np.searchsorted(day, due, side="right"))
        if every is not None and end - start >= every:
            end = start + every
            due = float(day[end - 1])
        ends.append(end)
        days.append(due)
        start = end
    return np.array(ends, dtype=np.int64), np.array(days)


def facts(spec: ReleaseSpec) -> dict[str, Any]:
    """A plan in words of its own keys, without those that are not given."""
    return {key: value for key, value in spec.model_dump(mode="json").items() if value is not None}
