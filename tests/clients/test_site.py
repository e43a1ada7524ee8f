"""What one process holds open: few data sets, one model that seeds share, and sites over private data."""

from collections.abc import Callable
from typing import Any

import pytest

from clients.data import loaders as data
from clients.data.source import Private, ShardRef
from clients.errors import InputError
from clients.jobs import Reply, assign_job, perform, tune_job
from clients.models import loaders as models
from clients.settings import Settings
from clients.work.contributions import SUM, VECTOR
from clients.work.site import MOST, Process, Site

Changed = Callable[..., Settings]


@pytest.fixture
def changed(tiny_settings: Settings) -> Changed:
    """The tiny settings with other sections."""

    def change(**sections: Any) -> Settings:
        return Settings.model_validate(tiny_settings.model_dump() | sections)

    return change


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the loaders, in the order in which they were called."""
    called: list[str] = []
    for name, module in (("data", data), ("model", models)):
        whole = module.load

        def load(*args: Any, _name: str = name, _whole: Any = whole) -> Any:
            called.append(_name)
            return _whole(*args)

        monkeypatch.setattr(module, "load", load)
    return called


def test_three_seeds_load_their_model_once(changed: Changed, opened: list[str], cache: object) -> None:
    here = Process()
    sites = [here.site(changed(seed=seed)) for seed in (1, 2, 3)]
    assert opened.count("model") == 1
    assert opened.count("data") == 3
    assert all(site.model is sites[0].model for site in sites)
    assert len({site.shard("u0").digest() for site in sites}) == 3
    assert [site.settings.seed for site in sites] == [1, 2, 3]


def test_a_shared_model_gives_the_bits_of_one_of_its_own(changed: Changed, cache: object) -> None:
    here, job = Process(), tune_job(["u0", "u3"], "plain", [SUM])
    shared = [perform(here.site(changed(seed=seed)), job, {}) for seed in (1, 2, 1)]
    alone = [perform(Process().site(changed(seed=seed)), job, {}) for seed in (1, 2)]
    assert [reply.error for reply in shared] == [None] * 3
    assert [_digests(reply) for reply in shared] == [_digests(alone[0]), _digests(alone[1]), _digests(alone[0])]
    assert _digests(alone[0]) != _digests(alone[1])


def _digests(reply: Reply) -> list[tuple[str, str]]:
    return [(tuned["digest"], tuned["recipe"]) for tuned in reply.facts["tunings"].values()]


def test_equal_settings_are_one_site(changed: Changed, opened: list[str], cache: object) -> None:
    here = Process()
    one = here.site(changed())
    points = one.anchors_of(3)
    assert here.site(Settings.model_validate_json(changed().model_dump_json())) is one
    assert here.site(changed()).anchors_of(3) is points
    other = here.site(changed(tuning={"steps": 9}))
    assert (other is one, other.source is one.source, other.model is one.model) == (False, True, True)
    assert opened == ["data", "model"]


def test_another_model_takes_the_place_of_the_one_that_is_held(changed: Changed, opened: list[str], cache: object) -> None:
    here, tiny = Process(), changed().model
    first = here.site(changed())
    digests = []
    for number, model in enumerate(({"tiny": tiny.tiny.model_dump() | {"seed": 5}}, {"tune": "all"}, {}), 2):
        site = here.site(changed(model=tiny.model_dump() | model))
        assert opened.count("model") == number
        assert here._sites == [site]
        digests.append((site.model.digest == first.model.digest, site.model.layout == first.model.layout))
    assert digests == [(False, True), (True, False), (True, True)]
    assert opened.count("data") == 1


def test_what_decides_a_model(changed: Changed, cache: object) -> None:
    """Public examples decide a base that is pretrained on them, and no other."""
    here, spec = Process(), changed().model
    manifest = here.dataset(changed().data, 1).manifest
    others = here.dataset(
        changed(data={"source": "fiction", "clients": 8, "pairs": 3, "public_authors": 9}).data, 1
    ).manifest
    assert models.identity(spec, manifest, "cpu") == models.identity(spec, here.dataset(changed().data, 2).manifest, "cpu")
    assert models.identity(spec, manifest, "cpu") != models.identity(spec, others, "cpu")
    assert models.identity(spec, manifest, "cpu") != models.identity(spec, manifest, "cuda")
    elsewhere = spec.model_copy(update={"base": "/models/llama"})
    assert models.identity(elsewhere, manifest, "cpu") == models.identity(elsewhere, others, "cpu")
    assert models.identity(elsewhere, manifest, "cpu") != models.identity(spec, manifest, "cpu")


def test_few_data_sets_are_held(changed: Changed, opened: list[str]) -> None:
    here, spec = Process(), changed().data
    first = here.dataset(spec, 1)
    assert here.dataset(spec.model_copy(), 1) is first
    here.dataset(spec, 2)
    assert here.dataset(spec, 1) is first  # now used after the second
    here.dataset(spec, 3)
    assert opened == ["data"] * 3
    assert here.dataset(spec, 1) is first
    again = here.dataset(spec, 2)
    assert opened == ["data"] * 4
    assert len(here._datasets) == MOST
    assert again.shard("u1") == data.load(spec, 2).shard("u1")


def test_a_data_set_that_is_let_go_takes_its_sites_along(changed: Changed, cache: object) -> None:
    here = Process()
    for seed in range(1, 6):
        here.site(changed(seed=seed))
    assert [site.settings.seed for site in here._sites] == [4, 5]
    for seed in (6, 7):
        here.dataset(changed().data, seed)
    assert here._sites == []


def test_a_site_sees_shards_by_name_and_in_order(site: Site) -> None:
    assert [shard.client for shard in site.shards()] == list(site.manifest.clients)
    assert site.shard(ShardRef(client="u3")) is site.shard("u3")
    assert not hasattr(site, "dataset")


def test_a_node_with_private_data(site: Site) -> None:
    """Its own clients' jobs give the bits of a whole site; those of others come back as errors, which name the client."""
    mine = ("u2", "u5")
    private = Private(site.manifest, {client: site.shard(client) for client in mine})
    node = Process().site(site.settings, private)
    assert node.model is not site.model
    wants = [SUM, VECTOR]
    here, whole = (perform(each, tune_job(mine, "sign_fixed", wants), {}) for each in (node, site))
    assert here.error is whole.error is None
    assert _digests(here) == _digests(whole)
    assert here.arrays["sum"].tobytes() == whole.arrays["sum"].tobytes()
    assert here.arrays["vector/u5"].tobytes() == whole.arrays["vector/u5"].tobytes()
    ours, theirs = (perform(each, assign_job(mine, 4), {}).facts["anchors"] for each in (node, site))
    assert ours == theirs
    for clients in (["u3"], ["u2", "u3"]):
        reply = perform(node, tune_job(clients, "plain", wants), {})
        assert reply.error == "InputError: the data of client u3 are not at this node"
        assert (reply.clients, reply.arrays) == (tuple(clients), {})
    assert node.manifest.clients == site.manifest.clients
    with pytest.raises(InputError, match="client u0 are not at this node"):
        list(node.shards())


def test_sources_are_told_apart(site: Site, changed: Changed) -> None:
    """The same settings over another source are another site; over the same one they are the same."""
    here = Process()
    one, two = (Private(site.manifest, {client: site.shard(client)}) for client in ("u1", "u2"))
    first, second = here.site(changed(), one), here.site(changed(), two)
    assert here.site(changed(), one) is first
    assert (first.shard("u1").client, second.shard("u2").client) == ("u1", "u2")
    assert second.model is first.model
