"""The population: what is written down, its digest, labels that tell who took part, and sites under it."""

from pathlib import Path
from typing import Any

import pytest
from small_tables import (
    table,
    through_json,
    write_jsonl,
)

from clients.data import loaders as data
from clients.data import telling
from clients.data.dataset import Dataset, Example, LabelSet, Shard
from clients.data.population import Labels, Population, Recorded
from clients.data.shards import Sides
from clients.data.specs import FictionData
from clients.errors import InputError
from clients.settings import Settings
from clients.work.site import Process


def test_what_is_written_down() -> None:
    one, two, three, free = (Example(name, "yes") for name in ("one", "two", "three", "free"))
    sets = {"": LabelSet(("yes", "no"), ("Yes.", "No."))}
    shards = Shard("ann", (two, one)), Shard("bob", (three,), (one,))
    known = data.written(Dataset(shards, (free,), sets, ("a note",), public_clients=("zoe",)))
    told = telling.notes(shards, sets, Sides(validated=True))
    assert told[0] == "2 clients of 2 to 2 examples (median 2): 3 train, 1 validation."
    assert known == Population(
        clients=("ann", "bob"),
        public=(free.key,),
        public_clients=("zoe",),
        label_sets={"": Labels(labels=("yes", "no"), captions=("Yes.", "No."))},
        validated=True,
        notes=("a note", *told),
        shards={shard.client: shard.digest() for shard in shards},
        examples={"ann": Recorded(train=(two.key, one.key)), "bob": Recorded(train=(three.key,), validation=(one.key,))},
    )
    assert data.written(Dataset(shards, (free,), sets)).public is None


def test_a_population_is_known_by_its_digest() -> None:
    """Also after a copy whose fields were changed: pydantic takes what was computed of the old one along."""
    known = data.written(data.load(FictionData(clients=3, pairs=2, public_authors=8), 7))
    digest = known.digest
    joining = known.model_copy(update={"joining": ("u0", "u1")})
    assert joining.digest == Population.model_validate(joining.model_dump()).digest != digest
    less, own = known.without(["u1"]), Shard("u1", (Example("a", "b"),))
    assert (set(less.examples), less.clients, set(less.shards)) == ({"u0", "u2"}, known.clients, {"u0", "u1", "u2"})
    assert less.digest != digest == known.digest
    assert less.holding(own).examples["u1"] == Recorded(train=(Example("a", "b").key,))
    assert less.holding(own).shards == known.shards
    again = less.model_copy(update={"examples": {**less.examples, "u1": known.examples["u1"]}})
    assert list(again.examples) != list(known.examples)
    assert (again, again.digest, hash(again)) == (known, digest, hash(known))
    changed = {known, joining, less, known.model_copy(update={"notes": ("x",)}), known.model_copy(update={"pictures": True})}
    assert len(changed) == 5


def test_data_sets_are_held_by_population(tiny_settings: Settings) -> None:
    here, spec = Process(), tiny_settings.data
    known = data.written(here.dataset(spec, 1))
    first = here.dataset(spec, 1, known=known)
    assert here.dataset(spec, 1, known=through_json(known)) is first
    assert first is not here.dataset(spec, 1)
    less = here.dataset(spec, 1, known=known.without(["u0"]))
    assert (less.manifest.gone, first.manifest.gone) == (("u0",), ())


def test_a_site_under_a_population(tiny_settings: Settings, cache: Path) -> None:
    """Settings that came as JSON find the site that is open; the base model is that of the run without a population."""
    here = Process()
    whole = here.site(tiny_settings)
    known = data.written(data.load(tiny_settings.data, tiny_settings.seed)).without(["u1"])
    under = tiny_settings.model_copy(update={"population": known})
    site = here.site(under)
    assert here.site(Settings.model_validate_json(under.model_dump_json())) is site
    assert site.model is whole.model
    assert site.manifest.gone == ("u1",)
    assert site.shard("u2") == whole.shard("u2")
    with pytest.raises(InputError, match="client u1 was forgotten"):
        site.shard("u1")


@pytest.mark.parametrize(
    ("held", "note"),
    [
        ({"ann": "x"}, "The label 'x' is held by one client alone: the label set tells that it took part."),
        (
            {"ann": "xy", "bob": "z"},
            "The labels 'x', 'y', 'z' are each held by one client alone: the label set tells that it took part.",
        ),
        (
            {"ann": "vwxyz"},
            "The labels 'v', 'w', 'x' and 2 more are each held by one client alone: the label set tells that it took part.",
        ),
        ({"ann": "x", "bob": "x"}, None),
        ({"ann": "x", "public": "x"}, None),
        ({"public": "x"}, None),
        ({"ann": "x", "small": "x"}, None),
    ],
)
def test_a_label_that_tells_who_took_part_is_told(tmp_path: Path, held: dict[str, str], note: str | None) -> None:
    """Who is public, or left out, holds a label too; their rows would have it in the set without the client."""
    everybody = {"ann": 5, "bob": 5, "public": 15, "small": 1}
    rows = [
        {"who": who, "text": f"{who} {i}", "label": "ab"[i % 2]} for who, count in everybody.items() for i in range(count)
    ]
    rows += [{"who": who, "text": f"{who} {label}", "label": label} for who, labels in held.items() for label in labels]
    write_jsonl(tmp_path / "t.jsonl", rows)
    options: dict[str, Any] = {"minimum": 3, "clients": 2}
    notes = data.load(table(tmp_path / "t.jsonl", **options), 7).notes
    assert [text for text in notes if "alone" in text] == ([note] if note else [])
    listed = data.load(table(tmp_path / "t.jsonl", labels=[*"abvwxyz"], **options), 7)
    assert not any("alone" in text for text in listed.notes)
