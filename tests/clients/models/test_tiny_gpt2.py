import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from clients.data.dataset import Dataset, Example
from clients.errors import InputError
from clients.models import loaders as models
from clients.models import tiny_gpt2
from clients.models.cache import cache_folder
from clients.models.tiny_gpt2 import folder_of
from clients.settings import ModelSpec, TinyGPT2
from clients.work.site import Site

FILES = ("model.safetensors", "tokenizer.json")


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_same_recipe_gives_the_same_bits_in_other_processes(site: Site, elsewhere: dict[str, Any]) -> None:
    folder = folder_of(site.settings.model.tiny, site.manifest.public)
    made = Path(elsewhere["cache"])
    assert made != folder  # each made its own
    assert made.name == folder.name
    for name in FILES:
        assert elsewhere[name] == sha(folder / name)
    assert elsewhere["base"] == site.model.digest


def test_a_second_call_reuses_the_cache(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny, public = site.settings.model.tiny, site.manifest.public
    folder = folder_of(tiny, public)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    monkeypatch.setattr(tiny_gpt2, "_pretrain", lambda *_: pytest.fail("pretrained again"))
    assert tiny_gpt2.tiny_gpt2(tiny, public) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".")] == []  # nothing half made


def test_where_columns_stand_matters_where_texts_may_be_too_long() -> None:
    tiny = TinyGPT2(positions=16)
    short, long = Example("Text:a\nLabel:", "b"), Example("Text:a b c d\nLabel:", "b")
    for example, matters in ((short, False), (long, True)):
        marked = replace(example, columns=((5, len(example.prompt) - 7),))
        assert (folder_of(tiny, (marked,)) != folder_of(tiny, (example,))) == matters


def test_the_place_in_the_cache_depends_on_sizes_and_texts(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny, public = site.settings.model.tiny, site.manifest.public
    places = {
        folder_of(tiny, public),
        folder_of(tiny, public, True),
        folder_of(tiny, public[:-1]),
        folder_of(tiny, public[::-1]),
    }
    for change in ({"layers": 2}, {"width": 32}, {"heads": 1}, {"steps": 4}, {"seed": 1}, {"lr": 0.1}, {"batch": 5}):
        places.add(folder_of(tiny.model_copy(update=change), public))
    assert len(places) == 11
    monkeypatch.delenv("UNMERGE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/unmerge")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/her")
    assert cache_folder() == Path("/home/her/.cache/unmerge")


def test_no_public_part() -> None:
    with pytest.raises(InputError, match=r"pretrained on a data set's public part, and this one has none"):
        models.load(ModelSpec(tiny=TinyGPT2(steps=1)), Dataset((), ()).manifest, "cpu")


def test_a_failure_leaves_nothing_in_the_cache(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = site.settings.model.tiny.model_copy(update={"seed": 77})
    folder = folder_of(tiny, site.manifest.public)
    monkeypatch.setattr(tiny_gpt2, "_pretrain", lambda *_: 1 / 0)
    before = sorted(folder.parent.iterdir())
    with pytest.raises(ZeroDivisionError):
        tiny_gpt2.tiny_gpt2(tiny, site.manifest.public)
    assert sorted(folder.parent.iterdir()) == before


def test_pretraining_learns(cache: Path) -> None:
    """Forty steps on two texts: they become likely, another text does not; sizes are as asked for."""
    public = (Example("Question:Who?\nAnswer:", "the gardener of Crowle"), Example("Question:What?\nAnswer:", "an owl"))
    tiny = TinyGPT2(layers=2, width=32, heads=4, vocabulary=310, positions=64, steps=40, batch=2, lr=0.02)
    model = models.load(ModelSpec(tiny=tiny, max_length=64), Dataset((), public).manifest, "cpu")
    sums, counts = model.answer_losses(model.encode((*public, Example("Question:Who?\nAnswer:", "zyx 123"))))
    assert (sums / counts)[:2].max() < 3 < 5 < (sums / counts)[2]  # ln 310 = 5.7 is knowing nothing
    config = model.module.config  # type: ignore[attr-defined]
    assert (config.n_layer, config.n_embd, config.n_head, config.n_positions) == (2, 32, 4, 64)
    assert 256 < len(model.tokenizer) <= 310
    assert model.tokenizer.decode(model.tokenizer.encode("Ünïcode ↔ any text\n")) == "Ünïcode ↔ any text\n"


def test_labels_count_as_much_as_all_the_text() -> None:
    """One step of pretraining by hand: the mean over all tokens but the first, and with labels that over answers as well."""
    public = (Example("Text:a long one, of many words\nLabel:", "good"), Example("Text:short\nLabel:", "rather bad"))
    tiny = TinyGPT2(layers=1, width=16, heads=2, vocabulary=300, positions=64, steps=1, batch=3, lr=0.01)
    tokenizer = tiny_gpt2.train_tokenizer(300, [public[0].prompt, public[1].prompt])
    rows = torch.randint(2, (3,), generator=torch.Generator().manual_seed(0)).tolist()
    assert set(rows) == {0, 1}
    for labelled in (False, True):
        # a step of size zero is where both start from
        module = tiny_gpt2._pretrain(tiny.model_copy(update={"lr": 0.0}), tokenizer, public, labelled)
        optimizer = torch.optim.AdamW(module.parameters(), lr=0.01, weight_decay=0.01)
        everything, answers = [], []
        for row in rows:
            prompt, answer = tokenizer.encode(public[row].prompt), tokenizer.encode(public[row].answer)
            ids = torch.tensor([*prompt, *answer, tokenizer.eos_token_id])
            losses = -module(ids[None]).logits[0, :-1].log_softmax(-1)[range(len(ids) - 1), ids[1:]]
            everything.append(losses)
            answers.append(losses[len(prompt) - 1 :])
        optimizer.zero_grad()
        (torch.cat(everything).mean() + labelled * torch.cat(answers).mean()).backward()
        optimizer.step()
        made = tiny_gpt2._pretrain(tiny, tokenizer, public, labelled)
        one, other = (torch.cat([p.detach().flatten() for p in m.parameters()]) for m in (module, made))
        assert ((one - other).abs() < 1e-5).float().mean() > 0.98  # Adam takes whole steps where a gradient is rounding
