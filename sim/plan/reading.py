"""What is read for a scenario, and what the model is given of it: told before anything is run."""

from collections.abc import Iterator
from dataclasses import replace

from clients.data.shards import Example, LabelSet
from clients.models.flat import BaseModel
from clients.work.site import HERE, open_site
from sim.scenario.model import Scenario
from sim.terminal import phase

SHOWN = 3
"""Examples that are shown, each of another client."""
LABELS_SHOWN = 20


def reading(scenario: Scenario) -> Iterator[str]:
    """Lines: the source, what was read of it, some examples as the model sees them, and the texts of the labels.

    Raises:
        InputError: data or base model do not fit.
    """
    settings = scenario.settings(scenario.seeds[0])
    dataset = HERE.dataset(settings.data, settings.seed)
    yield f"{settings.data.family}: {settings.data.source}"
    yield from dataset.told
    with phase("opening the base model (pretrained at first use)"):
        site = open_site(settings)
    yield from site.told
    examples = [shard.train[0] for shard in dataset.shards[:SHOWN]]
    for shard, example in zip(dataset.shards, examples, strict=False):
        asked, answer = site.model.shown(example)
        yield from ("", f"A training example of {shard.client}, as the model is given it:", repr(asked), repr(answer))
    for name, labels in dataset.label_sets.items():
        mine = next((e for shard in dataset.shards for e in shard.examples if e.label_set == name), None)
        if mine is not None:
            yield from (
                "",
                f"Labels{f' of {name}' if name else ''}, as the model knows them:",
                *_texts(site.model, mine, labels),
            )


def _texts(model: BaseModel, example: Example, labels: LabelSet) -> Iterator[str]:
    """Each label with what stands for it after this example."""
    for label in labels.labels[:LABELS_SHOWN]:
        yield f"  {label}: {model.shown(replace(example, answer=label))[1]!r}"
    if len(labels.labels) > LABELS_SHOWN:
        yield f"  and {len(labels.labels) - LABELS_SHOWN} more"
