"""A client: its shard of data, the base model, deterministic tuning, evaluation, and what it sends back.

Read in this order: ``settings`` (what a run fixes for every client), ``data`` (shards), ``models`` (base models as one
flat buffer), ``tuning`` (task vectors), ``exact_sum`` and ``bits`` (how task vectors and masks are written down),
``jobs`` (the three things a client is ever asked to do). Nothing here knows of strategies or of the simulator.
"""
