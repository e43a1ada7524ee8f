"""Models that see: which kinds there are, where a classifier's head is, and which of its rows is which class of the data.

A classifier's own classes are told by name: as they are, else without case, blanks, ``_``, ``-`` and a leading ``LABEL_``,
else by one of several names with commas between them, as ImageNet's classes have. A name that fits two rows fits none.
"""

import re
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal

from torch import nn

from clients.data.dataset import LabelSet
from clients.errors import NAMED, InputError, some
from clients.models.classifier import fresh_head


def kind_of(where: str, config: Any, fresh: bool) -> Literal["clip", "classifier"] | None:
    """Which kind of vision model a configuration is of; None if it is of no vision model.

    Args:
        fresh: whether it gets a new head, so that it needs none.

    Raises:
        InputError: it is one of another kind, or has no head and gets none.
    """
    import transformers
    from transformers.models.auto import modeling_auto as auto

    (name, *_) = getattr(config, "architectures", None) or [""]
    known = getattr(transformers, name, None)
    takes, sees = getattr(known, "main_input_name", None), "image" in (getattr(known, "input_modalities", None) or ())
    if name.endswith(("ForImageClassification", "ForImageClassificationWithTeacher")) and takes in (None, "pixel_values"):
        return "classifier"
    if config.model_type == "clip" and name in ("", "CLIPModel"):
        return "clip"
    if config.model_type in auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES and name.endswith("Model"):
        if takes == "pixel_values" and fresh:
            return "classifier"
        if takes == "pixel_values":
            raise InputError(f"model.base: {where} is a {name}, which has no classification head; set model.head: fresh")
    writes = {*auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, *auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES}
    if takes == "pixel_values" or (sees and config.model_type not in writes):
        raise InputError(
            f"model.base: {where} is a {name}, which is not supported; of models that see pictures, CLIP and image "
            "classifiers are, and with model.head: fresh bodies without a head, as ViTModel and Dinov2Model"
        )
    return None


def heads_of(classifier: Any) -> list[nn.Linear]:
    """The linear layers that give the logits of an image classifier: those outside of its body with as many outputs as it
    has labels. There are several where it was distilled, and their logits' mean counts.

    Raises:
        InputError: there is none.
    """
    labels = classifier.config.num_labels
    layers = [m for m in classifier.modules() if isinstance(m, nn.Linear) and m.out_features == labels]
    body = set() if classifier.base_model is classifier else set(classifier.base_model.modules())
    if not layers:
        raise InputError("model.base: the image classifier has no linear layer with as many outputs as labels")
    return [layer for layer in layers if layer not in body] or layers[-1:]


def set_head(classifier: Any, base: str, fresh: bool, label_sets: Mapping[str, LabelSet]) -> list[str]:
    """Give an image classifier a fresh head, or put the rows of its own into the data's order; what was assumed, as notes.

    Of a classifier that knows more classes only the data's are kept. Where it has no names at all (``LABEL_0``, ...) and as
    many classes as the data, they are taken to be in the data's order, and a note says so.

    Args:
        base: as the scenario calls it.

    Raises:
        InputError: not every class of the data is one of its own.
    """
    names = [label for key in sorted(label_sets) for label in label_sets[key].labels]
    heads = heads_of(classifier)
    if fresh:
        for old in heads:
            name = next(name for name, module in classifier.named_modules() if module is old)
            classifier.set_submodule(name, fresh_head(int(old.in_features), len(names), bias=True))
        classifier.config.num_labels = len(names)
        return []
    own = [str(classifier.config.id2label[number]) for number in range(classifier.config.num_labels)]
    rows = [row for key in sorted(label_sets) for row in rows_of(label_sets[key].labels, own)]
    if not any(row is not None for row in rows) and len(own) == len(names) and all(map(_is_numbered, own)):
        told = ", ".join(f"{old} is {new}" for old, new in zip(own[:NAMED], names, strict=False))
        told += ", ..." if len(own) > NAMED else ""
        return [
            f"model.base: {base} does not name its classes. They are taken to be in the order of the data's ({told}); "
            "if they are not, write their names into id2label of its config.json."
        ]
    _check_found(base, names, rows, own)
    order = [row for row in rows if row is not None]
    if order != list(range(len(own))):
        for head in heads:
            for parameter in head.parameters():
                parameter.data = parameter.data[order]
            head.out_features = len(order)
    if len(order) != len(own):
        classifier.config.num_labels = len(order)
    return []


def rows_of(labels: Sequence[str], own: Sequence[str]) -> list[int | None]:
    """For each class of a data set the row of the one own class that is called like it; None where it is not just one."""
    found: list[int | None] = [None] * len(labels)
    for called in READINGS:
        where: dict[str, set[int]] = {}
        for row, name in enumerate(own):
            for each in called(name):
                where.setdefault(each, set()).add(row)
        for number, label in enumerate(labels):
            fit = where.get(label if called is _exactly else plain(label), set())
            if found[number] is None and len(fit) == 1:
                (found[number],) = fit
    return [row if found.count(row) == 1 else None for row in found]


def plain(name: str) -> str:
    """A class's name without case, blanks, ``_``, ``-`` and a leading ``LABEL_``."""
    folded = unicodedata.normalize("NFKC", name).casefold().strip()
    return re.sub(r"[\s_-]+", "", re.sub(r"^label[\s_-]+", "", folded))


def _exactly(name: str) -> Collection[str]:
    return (name,)


def _plainly(name: str) -> Collection[str]:
    return (plain(name),)


def _by_synonym(name: str) -> Collection[str]:
    return {plain(each) for each in name.split(",")}


READINGS: tuple[Callable[[str], Collection[str]], ...] = (_exactly, _plainly, _by_synonym)


def _is_numbered(name: str) -> bool:
    return re.fullmatch(r"LABEL_\d+", name) is not None


def _check_found(base: str, names: Sequence[str], rows: Sequence[int | None], own: Sequence[str]) -> None:
    missing = [name for name, row in zip(names, rows, strict=True) if row is None]
    if not missing:
        return
    which = f"{some(list(map(repr, missing)))}; its own are {some(list(map(repr, own)))}"
    if len(own) != len(names):
        raise InputError(
            f"model.base: {base} tells {len(own)} classes apart, the data have {len(names)}; set model.head: fresh, or "
            f"give it the data's names. It has no class that is called {which}"
        )
    raise InputError(
        f"model.head: own: {base} has no class, or more than one, that is called {which}. Rename them, in the data or in "
        "id2label of its config.json, or set model.head: fresh"
    )
