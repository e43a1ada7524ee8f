"""The simulator: a scenario in, a run folder out.

``scenario`` is what a user asks for; ``run`` plays it: ``learning``, then ``stream`` of requests carried out by
``deletion``, measured by ``evaluation`` and ``cost``, recorded in the ``ledger``, proved by ``audit``, compared with
retraining by ``unlearning`` (and ``membership``), told by ``summary`` and ``report``. ``system`` is the state in between;
``workers`` carry out client jobs; ``cli`` is the command. Before a run, ``plan`` prices it (``price``, ``calibration``,
``room``, ``machine``); ``compare`` plays a scenario with other strategies.
"""
