"""Anchors from public data alone, and the one that a client's own data are nearest to."""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import pytest

from clients.data.dataset import Example
from clients.errors import InputError
from clients.jobs import assign_job, perform, tune_job
from clients.models.flat import BaseModel
from clients.work import anchors
from clients.work.contributions import Wanted
from clients.work.site import Site

CLIENTS = ("u0", "u3", "u5", "u6")


class Plane:
    """A model whose features are the point that an example's prompt names."""

    def features(self, examples: Sequence[Example]) -> np.ndarray:
        return np.mean([[float(part) for part in e.prompt.split()] for e in examples], axis=0).astype(np.float32)


PLANE = cast(BaseModel, Plane())


def points(*places: tuple[float, float]) -> list[Example]:
    return [Example(f"{x} {y}", "") for x, y in places]


def test_anchors_of_separate_heaps_are_their_means() -> None:
    rng = np.random.default_rng(0)
    heaps = [rng.normal(centre, 0.1, (20, 2)) for centre in ((0, 0), (5, 0), (0, 5))]
    public = points(*(tuple(place) for heap in heaps for place in heap.tolist()))
    found = anchors.anchors(PLANE, public, 3, seed=4)
    right = [heap.astype(np.float32).astype(np.float64).mean(0) for heap in heaps]
    np.testing.assert_allclose(found[np.lexsort(found.round(1).T)], np.array(right), atol=1e-12)
    np.testing.assert_array_equal(found, anchors.anchors(PLANE, public, 3, seed=4))


def test_a_client_is_numbered_by_most_of_its_examples_and_the_lowest_of_equals() -> None:
    at = np.array([[4.0, 0.0], [0.0, 0.0], [0.0, 4.0]])
    for places, right in (
        ([(0.1, 0)], 1),
        ([(0, 3), (0, 5), (4, 0)], 2),
        ([(4, 1), (0, 3), (0, 5), (3, 0)], 0),  # two each: the lower number
        ([(2, 0)], 0),  # as far from 0 as from 1
        ([(0, 2), (0, 2), (9, 9), (9, 9), (9, 9)], 0),  # (9, 9) is as far from 0 as from 2
    ):
        assert anchors.number(PLANE, points(*places), at) == right


def test_different_public_examples_evenly_spaced(monkeypatch: pytest.MonkeyPatch) -> None:
    public = points(*((i, 0) for i in range(10)))
    assert anchors.sample(public + public[::-1]) == public
    monkeypatch.setattr(anchors, "MOST_PUBLIC", 4)
    assert anchors.sample(public) == [public[i] for i in (0, 2, 5, 7)]


def test_fewer_public_examples_than_anchors_are_refused() -> None:
    three = points((0, 0), (1, 0), (2, 0), (0, 0))
    anchors.check(three, 3)
    with pytest.raises(
        InputError, match="by: anchor makes 4 anchors of public examples, and the data have 3 different ones"
    ):
        anchors.anchors(PLANE, three, 4, 0)


def test_anchors_of_a_model_are_the_means_of_what_is_nearest_to_them(site: Site) -> None:
    """k-means has come to rest; features one example at a time."""
    rows = np.array([site.model.features([example]) for example in site.manifest.public], dtype=np.float64)
    found = anchors.anchors(site.model, site.manifest.public, 4, site.settings.seed)
    nearest = np.array([np.argmin([np.sum((row - point) ** 2) for point in found]) for row in rows])
    assert set(nearest) == {0, 1, 2, 3}
    for k in range(4):
        np.testing.assert_allclose(found[k], rows[nearest == k].mean(0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("count", [2, 5])
def test_numbers_in_replies_are_a_clients_own(site: Site, count: int) -> None:
    """The same from any cohort, from tuning and from asking, and from a site that makes its anchors again."""
    at = anchors.anchors(site.model, site.manifest.public, count, site.settings.seed)
    right = {}
    for client in site.manifest.clients:
        rows = [site.model.features([example]).astype(np.float64) for example in site.shard(client).train]
        near = [int(np.argmin([np.sum((row - point) ** 2) for point in at])) for row in rows]
        right[client] = min(range(count), key=lambda k: (-near.count(k), k))
    assert len(set(right.values())) > 1
    told = perform(site, assign_job(CLIENTS, count), {}).facts
    assert told["anchors"] == {client: right[client] for client in CLIENTS}
    assert (told["gradient_steps"], told["client_tunings"]) == (0, 0)
    wants = [Wanted(what="anchor", value=count), Wanted(what="anchor", value=7)]
    fresh = replace(site, anchors={})
    for cohort in (CLIENTS, CLIENTS[:1], CLIENTS[:0:-1]):
        arrays = perform(fresh, tune_job(cohort, "plain", wants), {}).arrays
        assert {client: arrays[f"anchor-{count}/{client}"].tolist() for client in cohort} == {c: [right[c]] for c in cohort}
        assert set(arrays) == {f"anchor-{each}/{client}" for each in (count, 7) for client in cohort}
        assert {(array.dtype, array.shape) for array in arrays.values()} == {(np.dtype(np.int64), (1,))}
    assert set(fresh.anchors) == {count, 7}
    reply = perform(site, tune_job(["u1"], "plain", []), {})
    assert (reply.arrays, reply.error) == ({}, None)
    three, five, eight = (Wanted(what="anchor", value=value) for value in (3, 5, 8))
    assert {three, eight} | {five, Wanted(what="anchor", value=8)} == {three, five, eight}


def test_too_few_public_examples_are_a_reply(site: Site) -> None:
    assert "by: anchor makes 9999 anchors" in str(perform(site, assign_job(["u1"], 9999), {}).error)
