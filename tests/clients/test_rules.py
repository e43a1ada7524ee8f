"""Rules: vectors that follow from a shard bit for bit, by name, and those that come from outside."""

import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from clients.errors import InputError
from clients.exact import bits, digest
from clients.exact.grid import FINE, Grid, to_grid
from clients.jobs import perform, tune_job
from clients.settings import TuningSpec
from clients.work import tuning
from clients.work.contributions import SUM, VECTOR, Wanted
from clients.work.rules import RULES, RuleName, rule_of
from clients.work.site import Site

EVERY = pytest.mark.parametrize("name", list(RULES))
NUMBERS = itertools.count()
COUNTS = """
import numpy as np
from clients.work.rules import Rule
from clients.work.tuning import Tuned

class Counts(Rule):
    name = "counts"

    def derive(self, site, shard):
        letters = [len(example.answer) for example in shard.train[:3]]
        return Tuned(np.array([len(shard.train), 0, *letters], dtype=np.float32), "recipe of " + shard.client, 0, 0, 0.5)

    def bounds(self, site):
        return (0, 2, 5)

    def steps(self, spec):
        return 0

class Stranger:
    def derive(self, site, shard):
        return None

def counts(site, shard):
    return None
"""
COARSE = """
from clients.exact.grid import Grid

class Coarse(Counts):
    def grid(self, site):
        return Grid(0, 1000, 10)

class Narrow(Counts):
    def grid(self, site):
        return Grid(0, 2, 10)
"""


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """Writes a module into a folder on the path, and gives its name, which no other test has."""
    monkeypatch.syspath_prepend(tmp_path)
    written = []

    def write(code: str) -> str:
        written.append(f"rules_of_a_test_{next(NUMBERS)}")
        (tmp_path / f"{written[-1]}.py").write_text(code)
        return written[-1]

    yield write
    for name in written:
        sys.modules.pop(name, None)


def tuned_as(site: Site, **options: object) -> Site:
    """The site with other settings of tuning."""
    spec = TuningSpec.model_validate(site.settings.tuning.model_dump() | options)
    return replace(site, settings=site.settings.model_copy(update={"tuning": spec}))


@EVERY
def test_deriving_again_gives_the_same_bits(site: Site, name: str) -> None:
    rule, found = RULES[name], []
    for _ in range(2):
        found.append(rule.derive(site, site.shard("u2")))
        site.model.assign(site.model.theta0.numpy() + 1)  # what an earlier job may leave behind has no part in it
    site.model.reset()
    one, two = found
    assert one.vector.tobytes() == two.vector.tobytes()
    assert (one.recipe, one.steps, one.tokens, one.loss) == (two.recipe, two.steps, two.tokens, two.loss)
    assert one.vector.dtype == np.float32
    assert np.count_nonzero(one.vector) > 0.3 * one.vector.size
    other = rule.derive(site, site.shard("u3"))
    assert other.recipe != one.recipe
    assert (other.vector != one.vector).any()


def test_rules_have_recipes_and_vectors_of_their_own(site: Site) -> None:
    derived = [rule.derive(site, site.shard("u2")) for rule in RULES.values()]
    assert len({one.recipe for one in derived}) == len({one.vector.tobytes() for one in derived}) == len(RULES)


@EVERY
def test_bounds_end_at_the_size_of_the_vector(site: Site, name: str) -> None:
    bounds = RULES[name].bounds(site)
    assert bounds[0] == 0
    assert list(bounds) == sorted(set(bounds))
    assert RULES[name].derive(site, site.shard("u2")).vector.shape == (bounds[-1],)
    assert np.diff(bounds).tolist() == [int(np.prod(shape)) for shape in site.model.layout.shapes]


@EVERY
@pytest.mark.parametrize(("steps", "batch"), [(3, "full"), (4, 2)])
def test_steps_are_those_that_a_reply_reports_and_takes(
    site: Site, monkeypatch: pytest.MonkeyPatch, name: str, steps: int, batch: object
) -> None:
    here, taken = tuned_as(site, steps=steps, batch=batch), []
    before = torch.optim.Adam.step
    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", lambda self, *rest: taken.append(1) or before(self, *rest))
        reply = perform(here, tune_job(["u1", "u2"], name, []), {})
    assert reply.error is None
    assert RULES[name].steps(here.settings.tuning) == steps
    assert {told["steps"] for told in reply.facts["tunings"].values()} == {steps}
    assert (reply.facts["parallel_steps"], reply.facts["gradient_steps"], len(taken)) == (steps, 2 * steps, 2 * steps)


@EVERY
@pytest.mark.parametrize("seed", [7, 8])
def test_signs_hold(site: Site, name: str, seed: int) -> None:
    here = replace(tuned_as(site, steps=4, batch=2), anchors={})
    here = replace(here, settings=here.settings.model_copy(update={"seed": seed}))
    size, drawn = site.model.layout.size, bits.sign_vector(seed, site.model.layout.size)
    signs = RULES[name].signs(seed, size)
    against = []
    for client in site.manifest.clients[:4]:
        vector = RULES[name].derive(here, here.shard(client)).vector
        against.append(int((vector * drawn < 0).sum()))
    if signs is None:
        assert name == "plain"
        assert min(against) > 0.3 * size
    else:
        assert signs.tobytes() == drawn.tobytes()
        assert set(signs.tolist()) == {-1.0, 1.0}
        assert against == [0] * 4


def test_a_name_gives_its_rule() -> None:
    for name, rule in RULES.items():
        assert rule_of(name) is rule
        assert rule.name == name
        assert TypeAdapter(RuleName).validate_python(name) == name


def test_an_unknown_name_is_one_clear_error(site: Site) -> None:
    said = "there is no tuning rule 'backwards'; there are plain, sign_fixed, or module:Class"
    with pytest.raises(InputError) as raised:
        rule_of("backwards")
    assert str(raised.value) == said
    assert perform(site, tune_job(["u1"], "backwards", [SUM]), {}).error == f"InputError: {said}"
    with pytest.raises(ValidationError) as refused:
        TypeAdapter(RuleName).validate_python("backwards")
    (problem,) = refused.value.errors()
    assert problem["msg"] == f"Value error, {said}"


def test_a_class_from_outside(site: Site, outside: Callable[[str], str]) -> None:
    """Its vectors need not have the size of the model: all that is made of them follows its bounds."""
    name = f"{outside(COUNTS)}:Counts"
    rule = rule_of(name)
    assert rule is rule_of(name)
    assert TypeAdapter(RuleName).validate_python(name) == name
    assert (type(rule).__name__, rule.bounds(site), rule.steps(site.settings.tuning)) == ("Counts", (0, 2, 5), 0)
    assert rule.signs(7, 5) is None
    clients = ("u1", "u4")
    wants = [SUM, VECTOR, Wanted(what="mask", value=1.0), Wanted(what="size", value=1.0)]
    reply = perform(site, tune_job(clients, name, wants), {})
    assert reply.error is None
    vectors = {}
    for client in clients:
        train = site.shard(client).train
        vectors[client] = np.array([3, 0, *(len(example.answer) for example in train)], dtype=np.float32)
        assert reply.arrays[f"vector/{client}"].tobytes() == vectors[client].tobytes()
        assert bits.unpack(reply.arrays[f"mask-1/{client}"], 5).tolist() == [True, False, True, True, True]
        assert reply.arrays[f"size-1/{client}"] == pytest.approx([3, vectors[client][2:].mean()])
        told = reply.facts["tunings"][client]
        assert (told["recipe"], told["steps"], told["loss"]) == (f"recipe of {client}", 0, 0.5)
        assert told["digest"] == digest.of_integers(to_grid(vectors[client], FINE))
    np.testing.assert_array_equal(reply.arrays["sum"], sum(to_grid(vector, FINE) for vector in vectors.values()))
    counted = {key: reply.facts[key] for key in ("gradient_steps", "parallel_steps", "client_tunings", "parameters")}
    assert counted == {"gradient_steps": 0, "parallel_steps": 0, "client_tunings": 2, "parameters": 5}


def test_a_rule_says_what_its_vectors_are_summed_on(site: Site, outside: Callable[[str], str]) -> None:
    """Tuned vectors: as far as Adam goes. Others: steps of 2^-32, or what the rule says; its bound is held, by name."""
    most = len(site.manifest.clients)
    for rule in RULES.values():
        assert rule.grid(site) == tuning.grid_of(site.settings.tuning, most)
        assert (rule.grid(tuned_as(site, lr=2.0**-9)).bits, rule.grid(tuned_as(site, grid=32)).bits) == (23, 32)
    plain = tuned_as(site, grid=tuning.grid_bits(site.settings.tuning))
    assert (
        len({RULES["plain"].derive(here, site.shard("u1")).recipe for here in (site, plain, tuned_as(site, grid=32))}) == 2
    )
    module = outside(COUNTS + COARSE)
    assert rule_of(f"{module}:Counts").grid(site) == Grid(FINE.bits, FINE.largest, most)
    reply = perform(site, tune_job(["u1", "u4"], f"{module}:Coarse", [SUM]), {})
    answers = [sum(len(site.shard(client).train[at].answer) for client in ("u1", "u4")) for at in range(3)]
    assert (reply.arrays["sum"].tolist(), reply.arrays["sum"].dtype) == ([6, 0, *answers], np.int32)
    refused = perform(site, tune_job(["u1", "u4"], f"{module}:Narrow", [SUM]), {})
    assert refused.error == "InputError: client u1: a vector has NaN, infinite or |entries| > 2, more than can be summed"


def test_what_is_no_rule_is_refused(site: Site, outside: Callable[[str], str]) -> None:
    module = outside(COUNTS)
    broken = outside("import nothing_of_that_name")
    for name, said in (
        (f"{module}:Stranger", "not a Rule; it has to be a subclass of clients.work.rule.Rule"),
        (f"{module}:counts", "not a Rule; it has to be a subclass of clients.work.rule.Rule"),
        (f"{module}:Nobody", f"the module {module} has no Nobody"),
        (f"{broken}:Counts", "nothing_of_that_name"),
        ("no_such_module_anywhere:Counts", "the module no_such_module_anywhere cannot be imported"),
    ):
        with pytest.raises(InputError) as raised:
            rule_of(name)
        assert str(raised.value).startswith(f"{name}: ")
        assert said in str(raised.value)
        assert perform(site, tune_job(["u1"], name, [SUM]), {}).error == f"InputError: {raised.value}"
        with pytest.raises(ValidationError, match="Value error"):
            TypeAdapter(RuleName).validate_python(name)


def test_a_class_from_outside_that_lacks_a_method_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "unfinished_rule.py").write_text(
        "from clients.work.rules import Rule\n\n\nclass Nothing(Rule):\n    name = 'unfinished_rule:Nothing'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match="unfinished_rule:Nothing: a Rule has to define derive"):
        rule_of("unfinished_rule:Nothing")
