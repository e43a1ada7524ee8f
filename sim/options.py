"""Arguments and options that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

Sets = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the scenario, as in --set data.clients=10."),
]
Grids = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a key; with a list of values simulate each, as in --set workers.count=[1,2,4].",
    ),
]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]
ScenarioFile = Annotated[
    str, typer.Argument(metavar="SCENARIO", help="A YAML file, or the name of one that comes with unmerge.")
]
Moved = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Where things lie now, or who works, as in --set data.source=FILE or workers.kind=inline.",
    ),
]
Size = Annotated[str | None, typer.Option(metavar="NAME", help="One of the scenario's sizes, as paper; --set wins over it.")]
Out = Annotated[Path | None, typer.Option(help="Run folder to write; must not exist. Default: runs/NAME.")]
Folder = Annotated[Path | None, typer.Option(help="Folder to write; must not exist. Default: runs/NAME.")]
