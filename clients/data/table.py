"""Any table: rows are dealt to clients by a column or by a flwr-datasets partitioner."""

from collections.abc import Sequence

from clients.data.cells import text_of
from clients.data.dataset import Dataset, columns, split_template
from clients.data.population import Population
from clients.data.specs import TableData
from clients.data.texts import Rows, dataset_of, read, with_column
from clients.errors import InputError


def load(spec: TableData, seed: int, known: Population | None = None) -> Dataset:
    """Clients named by the client column, or ``u0, u1, ...`` by a partitioner, the ones with most rows first.

    A column of classes gives their names, and all of them are labels, in its order; else the labels are what occurs, sorted.
    """
    answer = split_template(spec.prompt)[1]
    table, _, classed, notes, count = read(
        spec,
        columns(spec.prompt),
        [answer, *([spec.client_column] if spec.client_column else [])],
        [spec.group_column] if spec.group_column else [],
    )
    classes = classed.get(answer, ())
    values = [text_of(value) for value in table[answer].to_pylist()]
    texts = _texts(spec, classes)
    if known is not None:
        texts = ({} if classes else known.numbered("", values)) | texts
    elif unknown := sorted(set(values) - set(texts)) if texts else []:
        raise InputError(f"data.label_names: no text for the label {unknown[0]!r} of column {answer!r}")
    answers = [texts.get(value, value) for value in values]
    names = [texts.get(name, name) for name in classes]
    labels = _labels(answers, names, spec, answer, notes) if known is None else []
    owners = table[spec.client_column].to_pylist() if spec.client_column else None
    groups = table[spec.group_column].to_pylist() if spec.group_column else ()
    inferred = spec.labels is True and not classes
    rows = Rows(with_column(table, answer, answers), owners, labels, inferred, notes, count, groups=groups)
    return dataset_of(rows, spec, seed, known)


def _texts(spec: TableData, classes: Sequence[str]) -> dict[str, str]:
    """Value to label text, as ``label_names`` has it, which may call a class by its number too."""
    named = {name: spec.label_names.get(str(number)) for number, name in enumerate(classes)}
    return {name: text for name, text in named.items() if text is not None} | spec.label_names


def _labels(answers: Sequence[str], classes: Sequence[str], spec: TableData, answer: str, notes: Sequence[str]) -> list[str]:
    if spec.labels is False:
        return []
    found = sorted(set(answers))
    if spec.labels is True:
        kept = list(dict.fromkeys(classes)) or found
        if len(kept) < 2 or len(kept) > 200:
            raise InputError(
                f"data.labels: column {answer!r} holds {len(kept)} different values; ranking needs 2 to 200. "
                "Set data.labels: false if it is free text" + "".join(f". {note}" for note in notes).removesuffix(".")
            )
        return kept
    outside = sorted(set(found) - set(spec.labels))
    if outside:
        raise InputError(f"data.labels: column {answer!r} holds {outside[0]!r}, which is not in the list")
    return spec.labels
