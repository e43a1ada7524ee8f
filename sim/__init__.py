"""The simulator: a scenario in, a run folder out. It never asks which strategy it has before it.

``cli`` and ``flower_app`` are the doors; ``document`` is what a command prints as JSON; ``run`` is the story of a run on one
screen. The rooms, from the top:

    study      many runs as one: comparing strategies
    plan       prices before anything runs, and whether there is room on this machine
    report     tables, figures, one page
    export     served models as folders that other libraries open
    attacks    what an adversary sees: the gap to retraining, membership
    proof      the audit, and verifying a run in a fresh process
    tracking   runs told to tracking libraries as they go on
    life       the played system: learning, requests carried out, evaluation, ledger
    workers    who carries out client jobs: inline, Ray, Flower
    stream     what happens when
    scenario   what a user asks for
"""
