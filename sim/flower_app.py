"""The ServerApp of ``flwr run .``: a door to the same run that the command plays, over the nodes of a Grid."""

from pathlib import Path

from flwr.app import Context, Message
from flwr.serverapp import Grid, ServerApp

from clients.app import wake_up

server_app = ServerApp()


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    """Run a whole scenario under ``flwr run .``; its config names the scenario and the folder to write."""
    # Nodes import what jobs need while this process does, which takes it seconds too: so only now. Nobody waits for replies.
    grid.push_messages([Message(wake_up(), node, "query.who", ttl=3600) for node in grid.get_node_ids()])
    _run(grid, str(context.run_config["scenario"]), str(context.run_config["out"]))


def _run(grid: Grid, source: str, out: str) -> None:
    from sim.life.saved import new_folder
    from sim.plan.checks import check_machine
    from sim.run import run_scenario
    from sim.scenario.file import load_scenario
    from sim.workers.flower import on_grid

    scenario = load_scenario(source)
    folder = new_folder(scenario, Path(out) if out else None)
    check_machine(scenario, folder)
    run_scenario(scenario, folder, on_grid(grid))
