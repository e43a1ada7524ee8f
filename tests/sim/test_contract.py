"""The contract over every row of the registry, and over the worked examples of docs/extending.md, which come from outside.

Nothing here names a strategy of the registry: a new row is held to the contract without a change.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from contract import (
    FREE,
    LABELLED,
    TWEETS,
    deletes_exactly,
    keeps_what_it_declares,
    plan_is_the_ledger,
    serves_nobody_what_a_member_gets,
    small,
)
from tiny_scenario import TINY, tiny

from clients.errors import InputError
from clients.work.site import open_site
from sim.proof.verify import verify
from sim.run import forget, run_scenario
from sim.scenario.file import load_scenario
from strategies.registry import CEILING, DEFAULT, FLOOR, REGISTRY, RETRAINED, strategy_of
from strategies.state.store import called
from strategies.strategy import Parameters, parameters_of

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "extending.md"
STREAM = {"requests": 4, "evaluate_after": [4], "release": {"every": 2}}
SKIES = {"family": "weather:Weather", "clients": 8, "days": 5}
OUTSIDE = ("shrunk:Shrunk", "ridge:Ridge", "labels:Frequent")
CONTRACT = (deletes_exactly, plan_is_the_ledger, serves_nobody_what_a_member_gets, keeps_what_it_declares)


@pytest.fixture(scope="module")
def registered(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of every row of the registry that takes free text."""
    scenario = tiny(strategies=[small(name) for name in FREE], stream=STREAM)
    return run_scenario(scenario, tmp_path_factory.mktemp("registered") / "run")


@pytest.fixture(scope="module")
def labelled(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the others, and of one beside them."""
    scenario = tiny(data=TWEETS, strategies=[FLOOR, *map(small, LABELLED)], stream=STREAM)
    return run_scenario(scenario, tmp_path_factory.mktemp("labelled") / "run")


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the page's examples, importable while the tests of this file run."""
    folder = tmp_path_factory.mktemp("examples")
    found = re.findall(r"ave it as `(\w+\.py)`\.\n\n```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    for name, code in found:
        (folder / name).write_text(code, encoding="utf-8")
    modules = {Path(name).stem for name, _ in found}
    assert modules == {"shrunk", "gram", "ridge", "labels", "weather"}
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))
    for module in modules:
        sys.modules.pop(module, None)


@pytest.fixture(scope="module")
def outside(examples: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the page's strategies on the page's data."""
    scenario = tiny(data=SKIES, strategies=[FLOOR, *(small(name) for name in OUTSIDE)], stream=STREAM)
    return run_scenario(scenario, tmp_path_factory.mktemp("outside") / "run")


@pytest.mark.parametrize("name", REGISTRY)
@pytest.mark.parametrize("held", CONTRACT)
def test_every_row_holds_the_contract(request: pytest.FixtureRequest, name: str, held: Any) -> None:
    held(request.getfixturevalue("registered" if name in FREE else "labelled"), name)


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("held", CONTRACT)
def test_what_comes_from_outside_holds_the_same_contract(outside: Path, name: str, held: Any) -> None:
    held(outside, name)


@pytest.mark.parametrize("made", ["registered", "labelled", "outside"])
def test_a_fresh_process_finds_every_exact_state_equal(made: str, request: pytest.FixtureRequest) -> None:
    findings, traces = verify(request.getfixturevalue(made))
    assert traces == []
    wrong = [finding.label for finding in findings if finding.exactness == "exact" and not finding.equal]
    assert wrong == []


def test_one_more_request_leaves_every_exact_state_equal(outside: Path, tmp_path: Path) -> None:
    run = run_scenario(load_scenario(str(outside / "scenario.yaml")), tmp_path / "run")
    labels = run / "state/7/kept-gram%3AGram/clients/labels"
    staying = next(f"s{i}" for i in range(8) if (labels / f"{called(f's{i}')}.safetensors").exists())
    forget(run, staying)
    findings, traces = verify(run)
    assert traces == []
    assert all(finding.equal for finding in findings)


def test_every_row_says_what_it_is() -> None:
    """A formula and a source at the head of its file, a docstring for its parameters, and its folder for its deletion."""
    for name, strategy in REGISTRY.items():
        module = sys.modules[strategy.__module__]
        assert len((module.__doc__ or "").splitlines()) >= 1, name
        parameters = parameters_of(strategy)
        assert issubclass(parameters, Parameters), name
        assert parameters.__doc__, name
        assert strategy.__module__.split(".")[1] == strategy.deletion, name
        assert (strategy.deletion == "edit") == (strategy.exactness == "approximate"), name
    assert {*DEFAULT, FLOOR, CEILING, RETRAINED} <= set(REGISTRY)


def test_a_strategy_of_the_page_has_thirty_lines_at_most(examples: Path) -> None:
    assert len((examples / "shrunk.py").read_text().splitlines()) <= 30


def test_the_shrunk_mean_by_hand(outside: Path) -> None:
    """Eight members, four left, κ = 4: half of the mean is served."""
    from contract import opened

    system, _ = opened(outside)
    served = system.strategies["shrunk:Shrunk"].serve(system.kept_of("shrunk:Shrunk"), "anybody")
    assert served.scales == (4 / (4 + 4),)


def test_the_ridge_head_solves_the_pooled_regression(outside: Path) -> None:
    """W from the exact sums of those who stayed equals the solution of a plain regression on their examples."""
    import numpy as np
    from contract import opened

    from clients.work.head import features, one_hot

    system, _ = opened(outside)
    site = open_site(system.settings)
    kept, strategy = system.kept_of("ridge:Ridge"), system.strategies["ridge:Ridge"]
    shards = [site.shard(client) for client in sorted(kept.members)]
    x = np.concatenate([features(site.model, shard.train) for shard in shards])
    y = np.concatenate([one_hot(shard.train, site.manifest.label_sets) for shard in shards])
    gram = x.T @ x / len(shards)
    strength = 0.1 * np.trace(gram) / len(gram)
    expected = np.linalg.solve(gram + strength * np.eye(len(gram)), x.T @ y / len(shards)).T
    np.testing.assert_allclose(strategy.vector("head").reshape(2, -1), expected, rtol=1e-3, atol=1e-4)


def test_outside_names_go_through_a_scenario_file(examples: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(TINY | {"data": SKIES, "strategies": [{"shrunk:Shrunk": {"kappa": 2}}]}))
    scenario = load_scenario(str(path))
    assert scenario.strategies[0].label == "shrunk:Shrunk"
    assert scenario.data.model_dump() == {"family": "weather:Weather", "source": "", "clients": 8, "days": 5}
    assert load_scenario(str(path)).digest() == scenario.digest()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"strategies": ["shrunk:Nope"]}, "shrunk:Nope: the module shrunk has no Nope"),
        ({"strategies": ["nowhere:Nope"]}, "nowhere:Nope: the module nowhere cannot be imported"),
        ({"strategies": ["json:dumps"]}, "json:dumps: not a Strategy"),
        ({"strategies": [{"shrunk:Shrunk": {"kapa": 1}}]}, "shrunk:Shrunk takes label, tuning, kappa"),
        ({"strategies": [{"shrunk:Shrunk": {"tuning": "plane"}}]}, "there is no tuning rule 'plane'"),
        ({"data": {"family": "nowhere:Weather"}}, "nowhere:Weather: the module nowhere cannot be imported"),
        ({"data": SKIES | {"dayz": 1}}, "dayz"),
    ],
)
def test_a_wrong_name_from_outside_is_one_clear_error(
    examples: Path, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(TINY | change))
    with pytest.raises(InputError) as told:
        load_scenario(str(path))
    assert said in str(told.value)
    assert len(str(told.value).splitlines()) == 1


def test_the_registry_knows_a_strategy_from_outside_by_its_class(examples: Path) -> None:
    assert strategy_of("shrunk:Shrunk").__name__ == "Shrunk"
    with pytest.raises(InputError, match="there is no strategy 'shrunk'"):
        strategy_of("shrunk")
