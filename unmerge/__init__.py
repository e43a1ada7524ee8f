"""Exact unlearning by model merging, from Python and notebooks.

    import unmerge

    run = unmerge.run("quickstart", {"workers.kind": "inline"}, out="runs/quickstart")
    run.strategies                            # pandas: a row per strategy
    model = run.served("sift_masks", "u3")    # torch.nn.Module: what client u3 is served
    unmerge.forget(run, "u3")                 # pandas: what that has cost
    unmerge.verify(run)                       # pandas: digests of the state and of its rebuild

A scenario is a file, the name of one that comes with unmerge, a dict of its sections, or what ``load`` returns. Overrides
are a dict of dotted keys, as ``{"data.clients": 10}``. What is wrong with what is given raises ``InputError``. Everything
else is as the command ``unmerge`` does it; docs/python.md tells more.
"""

from sim import quiet as quiet  # isort: skip  # before all others

from clients.errors import InputError, WorkError
from sim.scenario.model import Scenario
from unmerge.commands import forget, join, load, plan, resume, run, scale, simulate, sweep, verify
from unmerge.results import Run, Study

__all__ = [
    "InputError",
    "Run",
    "Scenario",
    "Study",
    "WorkError",
    "forget",
    "join",
    "load",
    "plan",
    "resume",
    "run",
    "scale",
    "simulate",
    "sweep",
    "verify",
]
