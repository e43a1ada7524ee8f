"""What a scenario will cost on this machine: its work (``price``) at measured speeds (``calibration``), and its ``room``.

FLOPs are 6·N for each token that is trained on and 2·N for each that is scored, N all parameters of the base model. Seconds
are client work divided by the number of workers: what the server does meanwhile, and starting workers, are not in them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from clients.jobs import open_site
from sim.life.system import Rule, check_data, strategies_of
from sim.plan import needs as room
from sim.plan import work as price
from sim.plan.needs import Need, Sizes, sizes_of
from sim.plan.speeds import Speeds, calibrate
from sim.plan.work import Work
from sim.report.figures import human_bytes
from sim.scenario.model import Scenario
from sim.scenario.workers import Kind
from sim.terminal import phase
from strategies.strategy import Strategy

WIDE = {"memory": 108, "flops": 95}  # columns of a terminal from which these are shown
UNKNOWN = "?"
COLUMNS = {
    "strategy": "strategy",
    "exact": "exact?\nrule",
    "tunings": "clients tuned\nlearn / each / all",
    "steps": "gradient steps\nlearn / forget",
    "flops": "FLOPs",
    "kept": "kept",
    "memory": "server\nmemory",
    "seconds": "time\nlearn / forget",
}
LEFT = ("strategy", "exact")


@dataclass(frozen=True)
class Row:
    """The prices of one strategy alone, whatever it shares with others; None where the deletion rule has none.

    Attributes:
        learn, forget: the work of learning, and of the whole stream.
        kept: bytes on disk when everybody is there.
        memory: peak of the server, in bytes.
        warning: what a user should know before choosing it.
    """

    label: str
    strategy: Strategy[Any]
    learn: Work | None
    forget: Work | None
    kept: int
    memory: int
    warning: str


# -- prices -----------------------------------------------------------------------------------------------------------


def rows_of(scenario: Scenario, sizes: Sizes) -> list[Row]:
    """A row per strategy, for the first seed."""
    seed = scenario.seeds[0]
    releases = price.releases_of(scenario, sizes.clients, seed)
    rows = []
    for label, strategy in strategies_of(scenario, seed).items():
        learn, forget = price.learning(strategy, sizes.clients), price.forgetting(strategy, releases)
        again = price.from_scratch(strategy, releases)
        spent, whole = ((work.gradient_steps(scenario.tuning) if work else 0) for work in (forget, again))
        warning = ""
        if strategy.exactness != "exact":
            warning = "cannot delete exactly: something of the forgotten is left"
        elif 0 < whole <= spent:
            warning = (
                f"deleting costs as much as learning again without the forgotten: {spent:,} of {whole:,} gradient steps"
            )
        kept = room.storage(strategy, sizes, sizes.clients)
        rows.append(Row(label, strategy, learn, forget, kept, room.server_memory(strategy, sizes), warning))
    return rows


def seconds(work: Work, tunings: Mapping[Rule, int], steps: int, speeds: Speeds) -> float:
    """Client work on one worker.

    Args:
        tunings: the work's tunings by tuning rule.
        steps: of a tuning.
    """
    step = max(speeds.step.values())
    spent = scored(work, speeds) * speeds.score + (work.mask_steps + work.pooled_examples / speeds.step_examples) * step
    return spent + sum(n * (speeds.joining[rule] + steps * speeds.step[rule]) for rule, n in tunings.items() if n)


def flops(work: Work, steps: int, parameters: int, speeds: Speeds) -> float:
    """6·N·tokens of gradient steps and 2·N·tokens of evaluations."""
    examples = (work.tunings * steps + work.mask_steps) * speeds.step_examples + work.pooled_examples
    return parameters * (6 * examples * speeds.example_tokens + 2 * scored(work, speeds) * speeds.score_tokens)


def scored(work: Work, speeds: Speeds) -> float:
    """How many scorings of a client the evaluations and probes come to."""
    return work.evaluations + work.probes * speeds.whole


def at_once(kind: Kind, scenario: Scenario) -> int:
    """How many workers of a kind work at the same time."""
    return 1 if kind == "inline" else scenario.workers.count


# -- the plan as it is told -------------------------------------------------------------------------------------------


def plan(scenario: Scenario, out: Path, width: int) -> tuple[Table, list[str], Need]:
    """The table for a terminal of ``width`` columns, the lines below it, and what the run needs.

    Raises:
        InputError: data or base model do not fit.
        WorkError: a client cannot be tuned or scored.
    """
    seed = scenario.seeds[0]
    check_data(scenario, seed)
    with phase("opening the base model (pretrained at first use)"):
        site = open_site(scenario.settings(seed))
    with phase("measuring a few steps"):
        sizes, speeds = calibrate(scenario, site, sizes_of(site, scenario.stream))
    need = room.need_of(scenario, sizes, out, speeds.peak)
    rows = rows_of(scenario, sizes)
    lines = [f"{row.label}: {row.warning}" for row in rows if row.warning]
    return table(scenario, sizes, speeds, rows, width), [*lines, *totals(scenario, sizes, speeds, need)], need


def table(scenario: Scenario, sizes: Sizes, speeds: Speeds, rows: Sequence[Row], width: int) -> Table:
    """A row per strategy."""
    stream = scenario.stream
    releases = len(price.releases_of(scenario, sizes.clients, scenario.seeds[0]))
    title = f"{scenario.name}: {len(sizes.clients)} clients, {stream.requests} deletions in {releases} releases, "
    title += f"{sizes.tunable:,} of {sizes.parameters:,} parameters tuned"
    made = Table(title=Text(title), box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    columns = {key: heading for key, heading in COLUMNS.items() if width >= WIDE.get(key, 0)}
    for key, heading in columns.items():
        # Folded, never cut off: a label or a number without its end would mislead.
        wide = key == "strategy" and width >= WIDE["flops"]
        least = min(20, max(len(row.label) for row in rows)) if wide else None
        made.add_column(Text(heading), justify="left" if key in LEFT else "right", overflow="fold", min_width=least)
    for row in rows:
        cells = _cells(scenario, sizes, speeds, row)
        made.add_row(*(Text(cells[key]) for key in columns))
    return made


def totals(scenario: Scenario, sizes: Sizes, speeds: Speeds, need: Need) -> list[str]:
    """What the whole run takes, each client tuned once per tuning rule; what is free; and how all this is counted."""
    seeds, steps, spec = len(scenario.seeds), scenario.tuning.steps, scenario.workers
    found = price.of_run(scenario, sizes.clients, scenario.seeds[0])
    lines = []
    if found is None:
        lines.append("The run's work is not known: it has a strategy whose deletion rule has no price here.")
    else:
        work, tunings = found
        spent = seeds * seconds(work, tunings, steps, speeds) / at_once(spec.stream, scenario)
        operations = seeds * flops(work, steps, sizes.parameters, speeds)
        lines.append(
            f"The run, each client tuned once per rule, with evaluation and audit{f', {seeds} seeds' if seeds > 1 else ''}: "
            f"{seeds * (work.tunings + work.pooled):,} clients tuned, "
            f"{seeds * work.gradient_steps(scenario.tuning):,} gradient steps, "
            f"{_power(operations)} FLOPs, {clock(spent)}."
        )
    disk = "; ".join(f"{human_bytes(n)} in {folder}, {human_bytes(free)} free" for folder, (n, free) in need.disk.items())
    worker = max(room.workers_memory(scenario, sizes), speeds.peak)
    lines.append(f"Disk: {disk}.")
    lines.append(
        f"Memory (estimate): {human_bytes(need.memory[0])} more than now, {human_bytes(need.memory[1])} free; "
        f"a worker {human_bytes(worker)}, activations as measured on a mean client."
    )
    lines.append(
        f"Counted: FLOPs 6·N·tokens trained on + 2·N·tokens scored, N = {sizes.parameters:,} parameters, "
        f"{speeds.step_examples * speeds.example_tokens:,.0f} tokens a step; clients tuned when learning, for each deletion "
        f"and for all of them; bytes kept per parameter: sum 8, vector or counter 4, mask 1/8; time: client work on "
        f"{at_once(spec.learn, scenario)} / {at_once(spec.stream, scenario)} workers."
    )
    return lines


def _cells(scenario: Scenario, sizes: Sizes, speeds: Speeds, row: Row) -> dict[str, str]:
    cells = {
        "strategy": row.label,
        "exact": f"{'yes' if row.strategy.exactness == 'exact' else 'NO'} {row.strategy.deletion}",
        "kept": human_bytes(row.kept),
        "memory": human_bytes(row.memory),
    }
    if row.learn is None or row.forget is None:
        return cells | dict.fromkeys(("tunings", "steps", "flops", "seconds"), UNKNOWN)
    spec, steps = scenario.tuning, scenario.tuning.steps
    requests = max(scenario.stream.requests or 0, 1)
    times = [
        seconds(work, {row.strategy.tuning: work.tunings}, steps, speeds) / at_once(kind, scenario)
        for work, kind in ((row.learn, scenario.workers.learn), (row.forget, scenario.workers.stream))
    ]
    learned, again = (work.tunings + work.pooled for work in (row.learn, row.forget))
    each = f"{again / requests:.1f}".removesuffix(".0")
    return cells | {
        "tunings": f"{learned:,} / {each} / {again:,}",
        "steps": f"{row.learn.gradient_steps(spec):,} / {row.forget.gradient_steps(spec):,}",
        "flops": _power(flops(row.learn + row.forget, steps, sizes.parameters, speeds)),
        "seconds": " / ".join(clock(time) for time in times),
    }


def _power(count: float) -> str:
    """``2.5e8``."""
    digits, _, exponent = f"{count:.1e}".partition("e")
    return f"{digits}e{int(exponent)}" if count else "0"


def clock(spent: float) -> str:
    """Seconds as a person says them: ``0.4 s``, ``25 s``, ``3.2 min``, ``1.5 h``, ``12 d``."""
    for name, size, above in (("d", 86400, 172800), ("h", 3600, 5400), ("min", 60, 90)):
        if spent >= above:
            return f"{_short(spent / size)} {name}"
    return f"{_short(spent)} s" if spent else "0"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 9.95 else f"{value:.1f}"
