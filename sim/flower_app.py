"""The ServerApp of ``flwr run .``: a door to the same run that the command plays, over the nodes of a Grid."""

from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from sim.life.saved import new_folder
from sim.plan.checks import check_machine
from sim.run import run_scenario
from sim.scenario.file import load_scenario
from sim.workers.flower import on_grid

server_app = ServerApp()


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    """Run a whole scenario under ``flwr run .``; its config names the scenario and the folder to write."""
    out = str(context.run_config["out"])
    scenario = load_scenario(str(context.run_config["scenario"]))
    folder = new_folder(scenario, Path(out) if out else None)
    check_machine(scenario, folder)
    run_scenario(scenario, folder, on_grid(grid))
