"""What is wanted of a client, by name: each contribution against a plain computation, and those from outside."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clients.errors import InputError
from clients.exact import bits
from clients.jobs import perform, tune_job
from clients.work import anchors, contributions
from clients.work.contributions import CONTRIBUTIONS, SUM, VECTOR, Derived, Wanted, contribution
from clients.work.rules import RULES
from clients.work.site import Site

VECTOR_BY_HAND = np.array([0.5, -2, 0, 1.5, -0.25, 0, 3, -1, 0, 0], dtype=np.float32)
BOUNDS = (0, 3, 5, 8, 10)
KEPT = {1.0: (0, 1, 3, 4, 6, 7), 0.5: (1, 3, 6), 0.3333333333: (1, 6), 0.0: ()}
SIZES = {
    1.0: [(0.5 + 2) / 2, (1.5 + 0.25) / 2, (3 + 1) / 2, 0],
    0.5: [2, 1.5, 3, 0],
    0.3333333333: [2, 0, 3, 0],
    0.0: [0, 0, 0, 0],
}
MODULE = """
import numpy as np

def largest(derived, value):
    return np.sort(np.abs(derived.vector))[-value:]

def letters(derived, value):
    assert value is None
    return np.array([len(example.answer) for example in derived.shard.train])

def tensors(derived, value):
    return np.array([value * derived.bounds[-1], len(derived.bounds), derived.site.model.layout.size], dtype=np.float32)

def logarithm(derived, value):
    return np.log(np.zeros(1))

text = "no function"
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module in a folder on the path."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "contributions_of_a_test.py").write_text(MODULE)
    yield "contributions_of_a_test"
    sys.modules.pop("contributions_of_a_test", None)


def by_hand(site: Site) -> Derived:
    return Derived(site, site.shard("u2"), VECTOR_BY_HAND, BOUNDS)


def wanted(what: str, value: float | None = None) -> Wanted:
    return Wanted(what=what, value=value)


@pytest.mark.parametrize(
    ("what", "value", "key"),
    [
        ("vector", None, "vector"),
        ("mask", 0.5, "mask-0.5"),
        ("mask", 1.0, "mask-1"),
        ("mask", 1, "mask-1"),
        ("mask", 0.3333333333, "mask-0.3333333333"),
        ("size", 1 / 3, "size-0.3333333333333333"),
        ("size", 1e-7, "size-1e-07"),
        ("mask", 10.0, "mask-10"),
        ("mask", 0.0, "mask-0"),
        ("anchor", 3, "anchor-3"),
        ("anchor", 30, "anchor-30"),
        ("module:function", None, "module:function"),
        ("module:function", 2.5, "module:function-2.5"),
    ],
)
def test_keys_tell_values_apart(what: str, value: Any, key: str) -> None:
    assert wanted(what, value).key == key
    assert value is None or float(key.removeprefix(f"{what}-")) == value  # nothing is rounded away
    assert Wanted.model_validate_json(wanted(what, value).model_dump_json()).key == key


def test_the_named_ones() -> None:
    assert (SUM.key, VECTOR.key) == ("sum", "vector")
    assert set(CONTRIBUTIONS) == {"vector", "grid", "mask", "size", "features", "anchor"}
    with pytest.raises(ValueError, match="frozen"):
        SUM.what = "vector"  # type: ignore[misc]


@pytest.mark.parametrize("keep", list(KEPT))
def test_masks_and_sizes_by_hand(site: Site, keep: float) -> None:
    """The largest share of entries that are not 0; the mean size of what is kept of each tensor."""
    derived = by_hand(site)
    packed = contribution(derived, wanted("mask", keep))
    assert (packed.dtype, packed.shape) == (np.uint8, (2,))
    assert np.flatnonzero(bits.unpack(packed, 10)).tolist() == list(KEPT[keep])
    assert packed.tolist() == [sum(1 << i for i in KEPT[keep]), 0]  # entry i is bit i
    size = contribution(derived, wanted("size", keep))
    assert (size.dtype, size.tolist()) == (np.float32, SIZES[keep])


def test_entries_as_large_as_the_smallest_one_kept_are_kept(site: Site) -> None:
    vector = np.array([1, -1, 2, 1, 0], dtype=np.float32)
    derived = Derived(site, site.shard("u2"), vector, (0, 2, 5))
    assert contribution(derived, wanted("mask", 0.5)).tolist() == [0b1111]
    assert contribution(derived, wanted("size", 0.5)).tolist() == [1, 1.5]


def test_a_share_is_looked_for_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, whole = [], bits.largest_share
    monkeypatch.setattr(contributions.bits, "largest_share", lambda vector, keep: asked.append(keep) or whole(vector, keep))
    derived = by_hand(site)
    for keep in (0.5, 1.0, 0.5):
        for what in ("mask", "size"):
            contribution(derived, wanted(what, keep))
    assert asked == [0.5, 1.0]


def test_the_vector_is_itself(site: Site) -> None:
    assert contribution(by_hand(site), VECTOR).tobytes() == VECTOR_BY_HAND.tobytes()


def test_features_are_means_of_the_last_layer(site: Site) -> None:
    """At the last answer token, before EOS; the mean over the training part alone."""
    shard, rows = site.shard("u2"), []
    for encoded in site.model.encode(shard.train):
        with torch.no_grad():
            hidden = site.model.module(torch.tensor([encoded.ids]), output_hidden_states=True).hidden_states[-1]
        rows.append(hidden[0, -2].double().numpy())
    found = contribution(by_hand(site), wanted("features"))
    assert (found.dtype, found.shape) == (np.float32, (16,))
    np.testing.assert_allclose(found, np.mean(rows, axis=0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("count", [2, 5])
def test_an_anchor_is_the_nearest_to_most_examples(site: Site, count: int) -> None:
    points = anchors.anchors(site.model, site.manifest.public, count, site.settings.seed)
    for client in site.manifest.clients:
        shard = site.shard(client)
        near = [int(((points - site.model.features([e])) ** 2).sum(1).argmin()) for e in shard.train]
        found = contribution(Derived(site, shard, VECTOR_BY_HAND, BOUNDS), wanted("anchor", count))
        assert (found.dtype, found.tolist()) == (np.int64, [max(range(count), key=lambda k: (near.count(k), -k))])


@pytest.mark.parametrize("rule", list(RULES))
def test_a_job_sends_what_is_wanted_and_nothing_else(site: Site, rule: str) -> None:
    """Under ``KEY/CLIENT``, the same for a client whoever else is in the cohort."""
    wants = [VECTOR, wanted("mask", 0.25), wanted("size", 0.25), wanted("features"), wanted("anchor", 3)]
    reply = perform(site, tune_job(["u1", "u5"], rule, (each for each in wants)), {})
    assert reply.error is None
    assert set(reply.arrays) == {f"{each.key}/{client}" for each in wants for client in ("u1", "u5")}
    for client in ("u1", "u5"):
        vector = RULES[rule].derive(site, site.shard(client)).vector
        derived = Derived(site, site.shard(client), vector, site.model.layout.bounds)
        for each in wants:
            assert reply.arrays[f"{each.key}/{client}"].tobytes() == contribution(derived, each).tobytes()


def test_unknown_names_are_errors(site: Site) -> None:
    said = "there is no contribution 'gram'; there are vector, grid, mask, size, features, anchor"
    with pytest.raises(InputError) as raised:
        contribution(by_hand(site), wanted("gram", 2))
    assert str(raised.value) == said
    reply = perform(site, tune_job(["u1"], "plain", [SUM, wanted("gram")]), {})
    assert (reply.error, reply.arrays) == (f"InputError: {said}", {})
    assert torch.equal(site.model.flat, site.model.theta0)
    with pytest.raises(InputError, match="there is no contribution 'sum'"):  # which is of a cohort
        contribution(by_hand(site), SUM)


def test_a_function_from_outside(site: Site, module: str) -> None:
    largest, letters, tensors = wanted(f"{module}:largest", 3), wanted(f"{module}:letters"), wanted(f"{module}:tensors", 0.5)
    reply = perform(site, tune_job(["u1", "u4"], "plain", [SUM, largest, letters, tensors]), {})
    assert reply.error is None
    keys = [f"{module}:largest-3", f"{module}:letters", f"{module}:tensors-0.5"]
    assert set(reply.arrays) == {"sum", *(f"{key}/{client}" for key in keys for client in ("u1", "u4"))}
    size = site.model.layout.size
    for client in ("u1", "u4"):
        vector = RULES["plain"].derive(site, site.shard(client)).vector
        top = sorted(abs(entry) for entry in vector.tolist())[-3:]
        assert reply.arrays[f"{keys[0]}/{client}"].tolist() == top
        expected = [len(example.answer) for example in site.shard(client).train]
        assert reply.arrays[f"{keys[1]}/{client}"].tolist() == expected
        assert reply.arrays[f"{keys[2]}/{client}"].tolist() == [size / 2, len(site.model.layout.bounds), size]


def test_what_is_not_finite_is_not_sent(site: Site, module: str) -> None:
    said = f"NotFiniteError: client u1: its {module}:logarithm: not all of its numbers are finite"
    with np.errstate(divide="ignore"):
        reply = perform(site, tune_job(["u1"], "plain", [SUM, wanted(f"{module}:logarithm")]), {})
    assert (reply.error, reply.arrays) == (said, {})


def test_what_is_not_there_outside_is_said(site: Site, module: str) -> None:
    for name, said in (
        (f"{module}:smallest", f"InputError: {module}:smallest: the module {module} has no smallest"),
        ("no_such_module_anywhere:f", "InputError: no_such_module_anywhere:f: the module no_such_module_anywhere cannot"),
        (f"{module}:text", "TypeError: 'str' object is not callable"),
    ):
        reply = perform(site, tune_job(["u1"], "plain", [wanted(name)]), {})
        assert str(reply.error).startswith(said)
        assert reply.arrays == {}
