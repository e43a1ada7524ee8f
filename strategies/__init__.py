"""The server: what it keeps of many vectors, and how a strategy serves and forgets with it.

``state`` is what the server keeps under one rule: members and a list of parts, shared by all strategies of that rule.
``strategy`` is the interface, ``scale`` chooses a scale on validation data, ``work`` is what prices are counted in. Then
one file per strategy, in a folder that says what a deletion takes: ``erase``, ``subtract``, ``relearn``, ``rebuild``,
``retrain`` or ``edit``; and ``registry`` with one row each. ``flower`` is the server's Flower side. Nothing here knows of
the simulator.
"""
