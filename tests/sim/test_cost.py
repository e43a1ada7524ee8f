"""Costs: one after another chains add up, at the same time the longest counts."""

from clients.jobs import Reply
from sim.life.cost import Cost, of_reply

A = Cost(gradient_steps=6, parallel_steps=3, client_tunings=2, evaluations=1, seconds=1.5, bytes_down=10, bytes_up=100)
B = Cost(gradient_steps=5, parallel_steps=5, client_tunings=1, evaluations=0, seconds=0.5, bytes_down=1, bytes_up=2)


def test_then_adds_everything() -> None:
    assert A.then(B) == Cost(11, 8, 3, 1, 2.0, 11, 102)


def test_beside_takes_the_longest_chain() -> None:
    assert A.beside(B) == Cost(11, 5, 3, 1, 2.0, 11, 102) == B.beside(A)


def test_of_a_reply() -> None:
    reply = Reply(("a",), {"gradient_steps": 4, "parallel_steps": 2, "client_tunings": 2, "seconds": 0.25, "scores": []})
    assert of_reply(reply, down=7, up=8) == Cost(4, 2, 2, 0, 0.25, 7, 8)
