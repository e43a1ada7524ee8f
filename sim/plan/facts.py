"""A plan as JSON values, for ``unmerge plan --format json``."""

from typing import Any

from sim.plan.plan import Plan, Row, seconds_of, total_of
from sim.plan.seconds import flops
from sim.plan.sizes import Sizes
from sim.plan.speeds import Speeds
from sim.scenario.model import Scenario


def facts(planned: Plan) -> dict[str, Any]:
    """What is priced, of each strategy alone, and of the whole run; seconds, bytes and counts."""
    rehearsal, speeds, need = planned.rehearsal, planned.speeds, planned.need
    scenario, sizes = rehearsal.scenario, rehearsal.sizes
    total = total_of(rehearsal, speeds)
    return {
        "name": scenario.name,
        "clients": len(sizes.clients),
        "parameters": {"total": sizes.parameters, "tunable": sizes.tunable},
        "seeds": list(scenario.seeds),
        "client_tunings": total.tunings,
        "gradient_steps": total.steps,
        "flops": total.flops,
        "seconds": total.seconds,
        "disk": {str(folder): {"needed": n, "free": free} for folder, (n, free) in need.disk.items()},
        "memory": {"needed": need.memory[0], "free": need.memory[1]},
        "strategies": {row.label: _facts(scenario, sizes, speeds, row) for row in planned.rows},
    }


def _facts(scenario: Scenario, sizes: Sizes, speeds: Speeds, row: Row) -> dict[str, Any]:
    learn, forget = seconds_of(scenario, speeds, row)
    return {
        "exactness": row.strategy.exactness,
        "deletion": row.strategy.deletion,
        "client_tunings": {key: each.tunings + each.pooled for key, each in (("learn", row.learn), ("forget", row.forget))},
        "gradient_steps": {
            "learn": row.learn.gradient_steps(row.steps),
            "forget": row.forget.gradient_steps(row.steps),
        },
        "flops": flops(row.learn + row.forget, row.steps, sizes.parameters, speeds),
        "storage_bytes": row.kept,
        "server_memory": row.memory,
        "seconds": {"learn": learn, "forget": forget},
        "warning": row.warning or None,
    }
