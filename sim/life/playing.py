"""What happens in a seed's life, one step after another; each ends with a commit, so a run goes on from where it stood."""

from collections.abc import Callable
from typing import Any

from sim.life import evaluation, record
from sim.life.choosing import chosen
from sim.life.cost import Cost
from sim.life.learning import Listener, every, learn, localize, published
from sim.life.life import Life
from sim.life.release import carry_out, listener
from sim.stream.requests import next_day
from sim.terminal import phase
from sim.workers.workers import Workers

Step = Callable[[Life, Workers], None]


def owed(life: Life) -> Step | None:
    """What comes next; None when all is done but the proofs."""
    if life.record["stage"] == "learning":
        return join_all
    if life.record["stage"] == "joined":
        return first_release
    if life.record["owes"]:
        return evaluate
    if life.record["played"] < len(life.batches):
        return next_release
    if life.record["waiting"]:
        return late_release
    return next_command if life.record["commands"] < len(life.commands) else None


def is_learning(life: Life) -> bool:
    """Whether clients are still to be tuned for the first time."""
    return owed(life) is join_all


def play(life: Life, workers: Workers) -> None:
    """Carry out everything that is owed: the rest of learning, the stream, evaluations, and what was asked by command."""
    left = sum(len(batch.requests) for batch in life.batches[life.record["played"] :])
    with phase("requests", left) if left else phase("what is owed") as done:
        while (step := owed(life)) is not None:
            before = life.record["events"]
            step(life, life.remembering(workers))
            for _ in range(life.record["events"] - before):
                done()


def join_all(life: Life, workers: Workers) -> None:
    """Every client who joins at first is tuned under every rule; committed every so often."""
    system, mine = life.system, life.record
    clients = system.population.joining
    costs = {label: Cost(**cost) for label, cost in mine["learn"].items()}
    told = listener(life)

    def checkpoint() -> None:
        for kept in system.kept.values():
            kept.save()
        mine["learn"] = {label: record.facts(cost) for label, cost in costs.items()}
        life.commit()

    life.tell_repeated()
    rules = [rule for rule in system.kept if rule is not None]
    with phase("clients tune the base model", len(clients) * len(rules)) as done:

        def joined(rule: str, client: str, facts: dict[str, Any]) -> None:
            told.joined(rule, client, facts)
            done()

        for rule in rules:
            for _ in system.kept[rule].members:
                done()
        heard = Listener(joined, told.failed, every(system.scenario.workers.checkpoint_seconds, checkpoint))
        learn(
            system,
            dict.fromkeys(system.kept, clients),
            life.remembering(workers, whole=False),
            costs,
            heard,
            mine["missing"],
        )
    mine["stage"] = "joined"
    checkpoint()


def first_release(life: Life, workers: Workers) -> None:
    """Scales and masks are chosen, and the models are published for the first time."""
    system, mine = life.system, life.record
    with phase("strategies choose scales and learn masks") as done:
        life.cost("learn", localize(system, workers, done))
    life.fail(system.failures)
    system.save()
    mine |= record.state(system)
    mine |= {"stage": "learned", "clients": len(life.present), "owes": ["evaluation"]}
    costs = {label: Cost(**cost) for label, cost in mine["learn"].items()}
    life.tell("learned", strategies=published(system, costs))
    life.commit()


def next_release(life: Life, workers: Workers) -> None:
    """The next batch of the stream."""
    mine = life.record
    batch = life.batches[mine["played"]]
    mine["played"] += 1
    requests = chosen(life, batch.requests)
    carry_out(life, requests, batch.day, workers, evaluated=batch.evaluated, last=mine["played"] == len(life.batches))


def late_release(life: Life, workers: Workers) -> None:
    """After the stream, on the first day on which one of those who are waited for can be reached."""
    spec, mine = life.system.scenario.stream, life.record
    clients = [waiting["request"]["client"] for waiting in mine["waiting"]]
    told = mine["events"] > sum(len(batch.requests) for batch in life.batches) or life.batches[-1].evaluated
    day = next_day(spec.offline, clients, mine["day"], life.system.seed)
    carry_out(life, [], day, workers, evaluated=told, last=True)


def next_command(life: Life, workers: Workers) -> None:
    """A request by command; what is served is evaluated afterwards."""
    request = life.commands[life.record["commands"]]
    life.record["commands"] += 1
    carry_out(life, [request], request.day, workers, evaluated=True, last=True)


def evaluate(life: Life, workers: Workers) -> None:
    """What every strategy serves is evaluated on every client's data: a point of the curves."""
    with phase("evaluating what is served") as done:
        rows, gone, failures = evaluation.evaluate(life.system, life.record, workers, done)
    life.fail(failures)
    life.rows += rows
    life.record["gone"] = gone
    life.record["owes"] = []
    life.record["curve"].append(evaluation.point(rows, life.record))
    life.tell("evaluated", events=life.record["events"], deleted=life.record["deleted"])
    life.commit()
