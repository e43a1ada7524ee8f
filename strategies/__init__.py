"""The server: what it keeps of many task vectors, and how a strategy serves and forgets with it.

``kept`` is what the server keeps of one tuning rule (exact sum, masks, ...), shared by all strategies of that rule;
``checking`` refuses wrong updates, ``additive`` holds sums per cluster. ``strategy`` is the interface; ``rebuilt`` is what
those strategies share that need every vector again, read block by block with ``streaming``, ``edited`` what the approximate
ones share; then one file per strategy, and ``registry`` with one row each. ``flower`` is the server's Flower side. Nothing
here knows of the simulator.
"""
