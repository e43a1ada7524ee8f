"""What a scenario will cost on this machine, as it is told: its ``work``, in ``seconds``, and what it ``needs``."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from clients.work.site import open_site
from sim.life.system import check_data, check_model
from sim.plan import machine, needs, work
from sim.plan.needs import Need
from sim.plan.rehearsal import Rehearsal, rehearsals_of
from sim.plan.seconds import PROGRAM, count_of, elapsed, flops, seconds, served, starting
from sim.plan.sizes import Sizes, sizes_of
from sim.plan.speeds import Speeds, measured
from sim.plan.work import steps_of
from sim.scenario.model import Scenario
from sim.stream.requests import FORGET, JOIN
from sim.terminal import human_bytes, phase
from strategies.strategy import Strategy
from strategies.work import Work

WIDE = {"memory": 108, "flops": 95}  # columns of a terminal from which these are shown
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
    """The prices of one strategy alone, whatever it shares with others.

    Attributes:
        learn, forget: the work of learning, and of the whole stream.
        steps: gradient steps of deriving one vector.
        kept: bytes on disk when everybody is there.
        memory: peak of the server, in bytes.
        warning: what a user should know before choosing it.
    """

    label: str
    strategy: Strategy[Any]
    learn: Work
    forget: Work
    steps: int
    kept: int
    memory: int
    warning: str


# -- prices -----------------------------------------------------------------------------------------------------------


def rows_of(rehearsal: Rehearsal) -> list[Row]:
    """A row per strategy."""
    scenario, clients = rehearsal.scenario, rehearsal.sizes.clients
    releases, rows = work.releases_of(scenario, clients, rehearsal.seed), []
    for label, strategy in rehearsal.strategies.items():
        learn = work.learning(rehearsal, label, clients)
        forget = work.forgetting(rehearsal, label, releases) + work.joining(rehearsal, label, releases)
        again, steps = work.from_scratch(rehearsal, label, releases), work.steps_of(strategy.rule, scenario.tuning)
        spent, whole = forget.gradient_steps(steps), again.gradient_steps(steps)
        warning = ""
        if strategy.exactness != "exact":
            warning = "cannot delete exactly: something of the forgotten is left"
        elif 0 < whole <= spent:
            warning = (
                f"deleting costs as much as learning again without the forgotten: {spent:,} of {whole:,} gradient steps"
            )
        kept, memory = needs.storage(rehearsal, label, clients), needs.server_memory(rehearsal, label)
        rows.append(Row(label, strategy, learn, forget, steps, kept, memory, warning))
    return rows


# -- the plan as it is told -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """What a scenario costs, by its first seed.

    Attributes:
        need: what the run needs of the machine.
    """

    rehearsal: Rehearsal
    speeds: Speeds
    rows: tuple[Row, ...]
    need: Need


def plan(scenario: Scenario, out: Path) -> Plan:
    """Price a scenario.

    Raises:
        InputError: data or base model do not fit.
        WorkError: a client cannot be tuned or scored.
    """
    seed = scenario.seeds[0]
    check_data(scenario, seed)
    with phase("opening the base model (pretrained at first use)"):
        site = open_site(scenario.settings(seed))
    check_model(scenario, site)
    with phase("measuring a few steps"):
        sizes, speeds = measured(scenario, site, sizes_of(site, scenario), partial(run_seconds, scenario))
    rehearsals = rehearsals_of(scenario, sizes)
    need, rehearsal = needs.need_of(rehearsals, out, speeds.peak), rehearsals[0]
    return Plan(rehearsal, speeds, tuple(rows_of(rehearsal)), need)


def shown(planned: Plan, width: int) -> tuple[Table, list[str]]:
    """The table for a terminal of ``width`` columns, and the lines below it."""
    rehearsal, speeds, rows = planned.rehearsal, planned.speeds, planned.rows
    lines = [f"{row.label}: {row.warning}" for row in rows if row.warning]
    lines += totals(rehearsal, speeds, planned.need)
    return table(rehearsal.scenario, rehearsal.sizes, speeds, rows, width), lines


@dataclass(frozen=True)
class Total:
    """What the whole run takes, each client tuned once per rule, over all seeds.

    Attributes:
        seconds: of the clock.
    """

    tunings: int
    steps: int
    flops: float
    seconds: float


def run_seconds(scenario: Scenario, sizes: Sizes, speeds: Speeds) -> float:
    """Seconds of the clock of a whole run."""
    return total_of(rehearsals_of(scenario, sizes)[0], speeds).seconds


def total_of(rehearsal: Rehearsal, speeds: Speeds) -> Total:
    """With evaluation and audit."""
    scenario, sizes = rehearsal.scenario, rehearsal.sizes
    seeds = len(scenario.seeds)
    done, tunings = work.of_run(rehearsal, sizes.clients)
    client = seeds * seconds(done, tunings, scenario.tuning, speeds)
    server = seeds * served(work.pairs_of_run(rehearsal, sizes.clients), speeds)
    spent = PROGRAM + seeds * starting(scenario.workers) + elapsed(client, server, scenario.workers, machine.cores())
    tuned = Work(mask_steps=sum(n * steps_of(rule, scenario.tuning) for rule, n in tunings.items()))
    operations = seeds * flops(done + tuned, 0, sizes.parameters, speeds)
    return Total(seeds * (done.tunings + done.pooled), seeds * (done + tuned).gradient_steps(0), operations, spent)


def table(scenario: Scenario, sizes: Sizes, speeds: Speeds, rows: Sequence[Row], width: int) -> Table:
    """A row per strategy."""
    batches = work.batches_of(scenario, scenario.seeds[0])
    kinds = Counter(request.kind for batch in batches for request in batch.requests)
    events = f"{kinds[FORGET]} deletions" + f" and {kinds[JOIN]} joins" * bool(kinds[JOIN])
    releases = len(batches)
    title = f"{scenario.name}: {len(sizes.clients)} clients, {events} in {releases} releases, "
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


def totals(rehearsal: Rehearsal, speeds: Speeds, need: Need) -> list[str]:
    """What the whole run takes, each client tuned once per rule; what is free; and how all this is counted."""
    scenario, sizes = rehearsal.scenario, rehearsal.sizes
    seeds, spec, total = len(scenario.seeds), scenario.workers, total_of(rehearsal, speeds)
    lines = [
        f"The run, each client tuned once per rule, with evaluation and audit{f', {seeds} seeds' if seeds > 1 else ''}: "
        f"{total.tunings:,} clients tuned, "
        f"{total.steps:,} gradient steps, "
        f"{_power(total.flops)} FLOPs, {clock(total.seconds)}."
    ]
    if (late := longer_than_timeout(scenario, speeds)) is not None:
        lines.append(late)
    releases = work.releases_of(scenario, sizes.clients, rehearsal.seed)
    if len(chosen := work.sampled(releases)) < len(releases):
        lines.append(f"Estimate: {len(chosen)} of {len(releases)} releases were rehearsed; the others lie between them.")
    disk = "; ".join(f"{human_bytes(n)} in {folder}, {human_bytes(free)} free" for folder, (n, free) in need.disk.items())
    worker = max(needs.worker_memory(rehearsal), speeds.peak)
    lines.append(f"Disk: {disk}.")
    lines.append(
        f"Memory (estimate): {human_bytes(need.memory[0])} more than now, {human_bytes(need.memory[1])} free; "
        f"a worker {human_bytes(worker)}, activations as measured on the largest client."
    )
    lines.append(
        f"Counted: FLOPs 6·N·tokens trained on + 2·N·tokens scored, N = {sizes.parameters:,} parameters, "
        f"{speeds.step_examples * speeds.example_tokens:,.0f} tokens a step; clients tuned when learning, for each deletion "
        f"and for all of them; bytes kept per parameter: sum 4 or 8, vector 4, counter 1 to 4, mask 1/8; time: client "
        f"work on {count_of(spec.learn, spec)} / {count_of(spec.stream, spec)} workers; that of the run: starting too."
    )
    return lines


def longer_than_timeout(scenario: Scenario, speeds: Speeds) -> str | None:
    """What to say where Flower nodes tune a cohort for longer than ``workers.timeout``; None where they do not."""
    spec = scenario.workers
    cohort = spec.cohort * max(
        speeds.joining[rule] + steps_of(rule, scenario.tuning) * speeds.step[rule] for rule in speeds.step
    )
    if "flower" not in (spec.learn, spec.stream) or cohort <= spec.timeout:
        return None
    return (
        f"A cohort takes {clock(cohort)}, longer than workers.timeout ({clock(spec.timeout)}): a node that cannot be "
        "reached for as long meanwhile is given up, with its work. Raise workers.timeout or lower workers.cohort."
    )


def _cells(scenario: Scenario, sizes: Sizes, speeds: Speeds, row: Row) -> dict[str, str]:
    cells = {
        "strategy": row.label,
        "exact": f"{'yes' if row.strategy.exactness == 'exact' else 'NO'} {row.strategy.deletion}",
        "kept": human_bytes(row.kept),
        "memory": human_bytes(row.memory),
    }
    steps = row.steps
    batches = work.batches_of(scenario, scenario.seeds[0])
    requests = max(sum(request.kind == FORGET for batch in batches for request in batch.requests), 1)
    times = seconds_of(scenario, speeds, row)
    learned, again = (each.tunings + each.pooled for each in (row.learn, row.forget))
    each = f"{again / requests:.1f}".removesuffix(".0")
    return cells | {
        "tunings": f"{learned:,} / {each} / {again:,}",
        "steps": f"{row.learn.gradient_steps(steps):,} / {row.forget.gradient_steps(steps):,}",
        "flops": _power(flops(row.learn + row.forget, steps, sizes.parameters, speeds)),
        "seconds": " / ".join(clock(time) for time in times),
    }


def seconds_of(scenario: Scenario, speeds: Speeds, row: Row) -> tuple[float, float]:
    """Of learning and of the stream, with one strategy alone."""
    learn, forget = (
        seconds(each, {row.strategy.rule: each.tunings}, scenario.tuning, speeds) / count_of(kind, scenario.workers)
        for each, kind in ((row.learn, scenario.workers.learn), (row.forget, scenario.workers.stream))
    )
    return learn, forget


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
