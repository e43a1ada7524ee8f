"""A client: its shard of data, the base model, deterministic work on both, and what it sends back.

Read in this order: ``settings`` (what a run fixes for every client), ``data`` (shards), ``models`` (base models as one flat
buffer), ``exact`` (how vectors and masks are summed and written down, bit for bit), ``work`` (what a client does: ``rules``
for its vector, ``contributions`` for what is kept of it, ``served`` for what it is given), ``jobs`` (the things a client is
ever asked to do). Nothing here knows of strategies or of the simulator.
"""
