"""TOFU (Maini et al., 2024), ``locuslab/TOFU`` or a folder in its layout: author = row // 20 of ``full``.

Public part, for the embedded base model only: ``holdout10`` (20 fictitious authors of the same style, none of them in
``full``), ``real_authors`` and ``world_facts``.
"""

from clients.data import findings
from clients.data.dataset import Dataset, Shard, fill, recorded
from clients.data.hub import open_texts
from clients.data.population import Population
from clients.data.specs import TofuData
from clients.errors import InputError

PAIRS_PER_AUTHOR = 20
PUBLIC = ("holdout10", "real_authors", "world_facts")


def load(spec: TofuData, seed: int, known: Population | None = None) -> Dataset:
    """Clients ``u0`` … ``u199``; the data are fixed, so ``seed`` has no part in them."""
    rows = _rows(spec, spec.config)
    public = tuple(fill(spec.prompt, row) for config in PUBLIC for row in _rows(spec, config))
    if known is not None:
        return recorded(findings.by_key(known, spec.source, (fill(spec.prompt, row) for row in rows), public))
    authors = len(rows) // PAIRS_PER_AUTHOR
    shards = tuple(
        Shard(
            f"u{author}",
            tuple(fill(spec.prompt, row) for row in rows[author * PAIRS_PER_AUTHOR :][: spec.pairs]),
        )
        for author in range(min(spec.clients, authors))
    )
    return Dataset(shards, public)


def _rows(spec: TofuData, config: str) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = open_texts(spec.source, config, "train", ["question", "answer"]).table.to_pylist()
    for number, row in enumerate(rows):
        for column, value in row.items():
            if value is None:  # authors are told by the numbers of their rows, so that none can be left out
                raise InputError(
                    f"data: {spec.source}, configuration {config}: row {number} has no value in column {column!r}"
                )
    return rows
