"""Any table: rows are dealt to clients by a column or by a flwr-datasets partitioner."""

from clients.data.dataset import Dataset, columns, split_template
from clients.data.population import Population
from clients.data.specs import TableData
from clients.data.texts import Rows, dataset_of, read, with_column
from clients.errors import InputError


def load(spec: TableData, seed: int, known: Population | None = None) -> Dataset:
    """Clients named by the client column, or ``u0, u1, ...`` by a partitioner, the ones with most rows first."""
    answer = split_template(spec.prompt)[1]
    table, notes = read(spec, columns(spec.prompt) + ([spec.client_column] if spec.client_column else []))
    answers = _named([str(value) for value in table[answer].to_pylist()], spec, answer, strict=known is None)
    labels = _labels(sorted(set(answers)), spec, answer) if known is None else []
    owners = table[spec.client_column].to_pylist() if spec.client_column else None
    rows = Rows(with_column(table, answer, answers), owners, labels, spec.labels is True, notes)
    return dataset_of(rows, spec, seed, known)


def _named(answers: list[str], spec: TableData, answer: str, strict: bool) -> list[str]:
    """Answers replaced by their texts; a value without a text is an error once texts are given, or stays as it is."""
    if not spec.label_names:
        return answers
    unknown = sorted(set(answers) - set(spec.label_names))
    if unknown and strict:
        raise InputError(f"data.label_names: no text for the label {unknown[0]!r} of column {answer!r}")
    return [spec.label_names.get(value, value) for value in answers]


def _labels(found: list[str], spec: TableData, answer: str) -> list[str]:
    if spec.labels is False:
        return []
    if spec.labels is True:
        if len(found) < 2 or len(found) > 200:
            raise InputError(
                f"data.labels: column {answer!r} holds {len(found)} different values; ranking needs 2 to 200. "
                "Set data.labels: false if it is free text"
            )
        return found
    outside = sorted(set(found) - set(spec.labels))
    if outside:
        raise InputError(f"data.labels: column {answer!r} holds {outside[0]!r}, which is not in the list")
    return spec.labels
