"""A simulation as it is told at a terminal."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from sim.service.figures import cheapest, told
from sim.terminal import NONE, human_bytes

COLUMNS = {
    "strategy": "strategy",
    "set": "set",
    "wait": "days to forget\nmedian / 99 %",
    "late": "late",
    "steps": "gradient steps\nper deletion",
    "hours": "machine\nhours",
    "busy": "workers\nbusy",
    "workers": "workers\nneeded",
    "storage": "storage",
}
LEFT = ("strategy", "set")


def table(content: Mapping[str, Any]) -> Table:
    """A row for each strategy, and for each point of a grid."""
    points = content.get("points", [content])
    title = f"{content['name']}: deletions in {content['days']:g} days, in time within {content['deadline']:g}"
    made = Table(title=Text(title), box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    columns = {key: heading for key, heading in COLUMNS.items() if key != "set" or len(points) > 1}
    for key, heading in columns.items():
        made.add_column(Text(heading), justify="left" if key in LEFT else "right", overflow="fold")
    for point in points:
        for label, found in point["strategies"].items():
            cells = {"strategy": label, "set": _set(point)} | _cells(found)
            made.add_row(*(Text(cells[key]) for key in columns))
    return made


def _cells(found: Mapping[str, Any]) -> dict[str, str]:
    time, steps, needed = found["time_to_forget"], found["gradient_steps_per_deletion"], found["workers_needed"]
    return {
        "wait": " / ".join(NONE if time[key] is None else f"{time[key]:.3g}" for key in ("median", "p99")),
        "late": NONE if time["late_share"] is None else f"{100 * time['late_share']:.3g} %",
        "steps": NONE if steps is None else f"{steps:,.0f}" if steps >= 10 else f"{steps:.2g}",
        "hours": f"{found['machine_hours']:,.3g}",
        "busy": f"{100 * found['utilisation']:.3g} %",
        "workers": NONE if needed is None else f"{needed:,}",
        "storage": human_bytes(found["storage_bytes"]),
    }


def lines(content: Mapping[str, Any]) -> Iterator[str]:
    """The cheapest release plan of each strategy, and how prices were found."""
    point = told(content)
    if point is None:
        yield "Nobody asks to be forgotten."
        return
    first = next(iter(point["strategies"].values()))
    where = f" with {_set(point)}" if point.get("set") else ""
    asked = f"{first['requests']:,} deletions, {first['refused']:,} requests refused"
    yield f"{asked}, in {first['releases']:,} releases{where}."
    for label in point["strategies"]:
        best = cheapest(point, label)
        plan = "no release plan" if best is None else _plan(best["release"])
        yield f"{label}: the cheapest release plan that has 99 % in time: {plan}."
    if content["estimated"]:
        yield "Estimate: prices of localizing are fitted to dry runs of few members."
    speed = "measured now" if content["speeds"] == "measured" else f"those of {content['speeds']}"
    yield f"Seconds of work are {speed}; learning is not in it, nor what the server does, nor evaluation."


def _set(point: Mapping[str, Any]) -> str:
    return ", ".join(f"{name.rpartition('.')[2]} {value}" for name, value in point.get("set", {}).items())


def _plan(release: Mapping[str, Any]) -> str:
    return "at once" if release == {"every": 1} else ", ".join(f"{key} {value}" for key, value in release.items())
