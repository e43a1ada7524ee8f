"""What one deletion takes: 100 of 200 clients leave one by one, each in a release of its own; nobody chooses settings again.

    python -m tests.benchmarks.bench_deletions [CLIENTS REQUESTS]

The embedded sent140 setting, inline, one worker. ``ridge`` subtracts what it keeps of the client; ``sift_masks`` derives the
client's vector again; ``central`` trains again on those who stay. All state is compared bit for bit at the end.
"""

import json
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from sim.run import run_scenario
from sim.scenario.file import load_scenario
from sim.scenario.model import Scenario
from sim.terminal import human_bytes

STRATEGIES = [
    {"ridge": {"ridge": 1.0, "kappa": 30.0, "mix": 0.1}},
    {"ridge": {"label": "ridge_global", "personal": False, "ridge": 1.0, "mix": 0.1}},
    {"sift_masks": {"keep": 0.5, "alpha": 2.0}},
    {"central": {"steps": 200, "batch": 32}},
]


def main() -> None:
    clients, requests = (int(value) for value in sys.argv[1:3]) if len(sys.argv) > 2 else (200, 100)
    sets = ["data.maximum=24", f"data.clients={clients}", "report.html=false"]
    loaded = load_scenario("sent140", sets).model_dump(mode="json")
    stream = {"requests": requests, "release": {"every": 1}, "evaluate_after": [requests]}
    scenario = Scenario.model_validate(
        loaded | {"strategies": STRATEGIES, "stream": stream, "workers": {"kind": "inline", "cohort": 4}}
    )
    with tempfile.TemporaryDirectory() as folder:
        run = run_scenario(scenario, Path(folder) / "run")
        released = [json.loads(line) for line in (run / "ledger.jsonl").read_text().splitlines()]
        summary = json.loads((run / "summary.json").read_text())
    releases = [line["strategies"] for line in released if line["event"] == "release"]
    table = Table(title=f"{requests} of {clients} clients, one by one")
    for heading in ("strategy", "seconds each", "bytes sent each", "gradient steps each", "bitwise"):
        table.add_column(heading, justify="left" if heading == "strategy" else "right")
    for label, found in summary["strategies"].items():
        mine = [release[label] for release in releases]

        def mean(*keys: str, mine: list[dict[str, float]] = mine) -> float:
            return sum(each[key] for each in mine for key in keys) / len(mine)

        table.add_row(
            label,
            f"{mean('seconds'):.4f}",
            human_bytes(round(mean("bytes_up", "bytes_down"))),
            f"{mean('gradient_steps'):,.0f}",
            str(found["bitwise_equal"]),
        )
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
