"""TOFU (Maini et al., 2024), ``locuslab/TOFU`` or a folder in its layout: author = row // 20 of ``full``.

Public part, for the embedded base model only: ``real_authors`` and ``world_facts``, which name no fictitious author, and
the public part of ``fiction``, since those two hold only 217 short answers.
"""

from clients.data import fiction
from clients.data.dataset import Dataset, Shard, fill
from clients.data.hub import open_table
from clients.errors import InputError
from clients.settings import FictionData, TofuData

PAIRS_PER_AUTHOR = 20


def load(spec: TofuData, seed: int) -> Dataset:
    """Clients ``u0`` … ``u199``; the data are fixed, so ``seed`` has no part in them."""
    rows = _rows(spec, spec.config)
    authors = len(rows) // PAIRS_PER_AUTHOR
    shards = tuple(
        Shard(
            f"u{author}",
            tuple(fill(spec.prompt, row) for row in rows[author * PAIRS_PER_AUTHOR :][: spec.pairs]),
        )
        for author in range(min(spec.clients, authors))
    )
    public = tuple(fill(spec.prompt, row) for config in ("real_authors", "world_facts") for row in _rows(spec, config))
    return Dataset(shards, public + fiction.load(FictionData(clients=1), 0).public)


def _rows(spec: TofuData, config: str) -> list[dict[str, object]]:
    import string

    named = [name for _, name, _, _ in string.Formatter().parse(spec.prompt) if name]
    unknown = sorted(set(named) - {"question", "answer"})
    if unknown:
        raise InputError(f"data.prompt: TOFU has the columns question and answer, not {', '.join(unknown)}")
    return list(open_table(spec.source, config, "train", ["question", "answer"]))
