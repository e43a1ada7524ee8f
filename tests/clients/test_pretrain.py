import hashlib
from pathlib import Path
from typing import Any

import pytest

from clients import base_model, pretrain
from clients.data.dataset import Dataset, Example
from clients.errors import InputError
from clients.jobs import Site
from clients.settings import ModelSpec, TinyGPT2

FILES = ("model.safetensors", "tokenizer.json")


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_same_recipe_gives_the_same_bits_in_other_processes(site: Site, elsewhere: list[dict[str, Any]]) -> None:
    folder = pretrain.cached(site.settings.model.tiny, site.dataset.public)
    made = [Path(facts["cache"]) for facts in elsewhere]
    assert len({folder, *made}) == 3  # each made its own
    assert {path.name for path in made} == {folder.name}
    for name in FILES:
        assert [facts[name] for facts in elsewhere] == [sha(folder / name)] * 2
    assert {facts["base"] for facts in elsewhere} == {site.model.digest}


def test_a_second_call_reuses_the_cache(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny, public = site.settings.model.tiny, site.dataset.public
    folder = pretrain.cached(tiny, public)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    monkeypatch.setattr(pretrain, "_pretrain", lambda *_: pytest.fail("pretrained again"))
    assert pretrain.tiny_gpt2(tiny, public) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".")] == []  # nothing half made


def test_the_place_in_the_cache_depends_on_sizes_and_texts(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny, public = site.settings.model.tiny, site.dataset.public
    places = {pretrain.cached(tiny, public), pretrain.cached(tiny, public[:-1]), pretrain.cached(tiny, public[::-1])}
    for change in ({"layers": 2}, {"width": 32}, {"heads": 1}, {"steps": 4}, {"seed": 1}, {"lr": 0.1}, {"batch": 5}):
        places.add(pretrain.cached(tiny.model_copy(update=change), public))
    assert len(places) == 10
    monkeypatch.delenv("UNMERGE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert pretrain.cache_folder() == Path("/somewhere/unmerge")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/her")
    assert pretrain.cache_folder() == Path("/home/her/.cache/unmerge")


def test_no_public_part() -> None:
    with pytest.raises(InputError, match=r"pretrained on a data set's public part, and this one has none"):
        base_model.load(ModelSpec(tiny=TinyGPT2(steps=1)), Dataset((), ()), "cpu")


def test_a_failure_leaves_nothing_in_the_cache(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = site.settings.model.tiny.model_copy(update={"seed": 77})
    folder = pretrain.cached(tiny, site.dataset.public)
    monkeypatch.setattr(pretrain, "_pretrain", lambda *_: 1 / 0)
    before = sorted(folder.parent.iterdir())
    with pytest.raises(ZeroDivisionError):
        pretrain.tiny_gpt2(tiny, site.dataset.public)
    assert sorted(folder.parent.iterdir()) == before


def test_pretraining_learns(cache: Path) -> None:
    """Forty steps on two texts: they become likely, another text does not; sizes are as asked for."""
    public = (Example("Question:Who?\nAnswer:", "the gardener of Crowle"), Example("Question:What?\nAnswer:", "an owl"))
    tiny = TinyGPT2(layers=2, width=32, heads=4, vocabulary=310, positions=64, steps=40, batch=2, lr=0.02)
    model = base_model.load(ModelSpec(tiny=tiny, max_length=64), Dataset((), public), "cpu")
    sums, counts = model.answer_losses(model.encode((*public, Example("Question:Who?\nAnswer:", "zyx 123"))))
    assert (sums / counts)[:2].max() < 3 < 5 < (sums / counts)[2]  # ln 310 = 5.7 is knowing nothing
    config = model.module.config  # type: ignore[attr-defined]
    assert (config.n_layer, config.n_embd, config.n_head, config.n_positions) == (2, 32, 4, 64)
    assert 256 < len(model.tokenizer) <= 310
    assert model.tokenizer.decode(model.tokenizer.encode("Ünïcode ↔ any text\n")) == "Ünïcode ↔ any text\n"
