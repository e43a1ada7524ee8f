"""Time to forget as it is told: what ``summary.json`` says of it, and a table. A run of before has none of it."""

from pydantic import BaseModel

from sim.terminal import NONE

COLUMNS = {
    "strategy": "strategy",
    "median": "days to forget\nmedian",
    "p95": "\n95 %",
    "p99": "\n99 %",
    "max": "\nlongest",
    "late": "late",
    "backlog": "waiting\nmean / most",
    "busy": "workers\nbusy",
}


class TimeToForget(BaseModel):
    median: float | None
    p95: float | None
    p99: float | None
    max: float | None
    late_share: float | None


class Backlog(BaseModel):
    most: int
    mean: float


class Times(BaseModel):
    """When deletions were asked for, and by label when they were published; days."""

    arrival: list[float]
    published: dict[str, list[float]]


def cells(label: str, time: TimeToForget, backlog: Backlog | None, busy: float | None) -> dict[str, str]:
    """The row of a strategy, by column."""
    days = {
        key: NONE if (value := getattr(time, key)) is None else f"{value:.3g}" for key in ("median", "p95", "p99", "max")
    }
    return {
        "strategy": label,
        **days,
        "late": NONE if time.late_share is None else f"{100 * time.late_share:.3g} %",
        "backlog": NONE if backlog is None else f"{backlog.mean:.3g} / {backlog.most:,}",
        "busy": NONE if busy is None else f"{100 * busy:.2g} %",
    }


def compressed(many: float | None, days: float | None) -> str:
    """What has to be said of simulated time; nothing where it is not compressed."""
    if many is None or many < 2 or days is None:
        return ""
    return (
        f"Simulated time is compressed: so many of these clients asked in {days:g} days that it is {many:,.0f} times the "
        "84 deletions per million identities and year that DataGrail saw in 2021."
    )
