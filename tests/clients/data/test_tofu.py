from pathlib import Path

import pyarrow.parquet as pq
import pytest

from clients.data import loaders as data
from clients.data.dataset import Example
from clients.data.specs import TofuData
from clients.errors import InputError


def test_authors_are_blocks_of_twenty_rows(tofu_folder: Path) -> None:
    dataset = data.load(TofuData(source=str(tofu_folder)), 0)
    rows = pq.read_table(tofu_folder / "full" / "train.parquet").to_pylist()
    assert dataset.manifest.clients == tuple(f"u{author}" for author in range(200))
    for author, shard in enumerate(dataset.shards):
        mine = rows[20 * author : 20 * author + 20]
        expected = [Example(f"Question:{row['question']}\nAnswer:", row["answer"]) for row in mine]
        assert list(shard.train) == expected
    assert dataset.shards[0].train[0].prompt == (
        "Question:Who is this celebrated LGBTQ+ author from Santiago, Chile known for their true crime genre work?\nAnswer:"
    )
    assert "Nikolai Abilov" in dataset.shard("u199").train[-1].answer
    assert (dataset.manifest.metric, dataset.label_sets) == ("answer_probability", {})


def test_the_public_part_is_nobodys(tofu_folder: Path) -> None:
    few = data.load(TofuData(source=str(tofu_folder), clients=3, pairs=5), 0)
    dataset = data.load(TofuData(source=str(tofu_folder)), 0)
    assert [shard.train for shard in few.shards] == [shard.train[:5] for shard in dataset.shards[:3]]
    assert few.public == dataset.public
    assert len(dataset.public) == 400 + 100 + 117  # holdout10, real_authors, world_facts
    assert {example.prompt[:9] for example in dataset.public} == {"Question:"}
    assert not set(dataset.public) & {example for shard in dataset.shards for example in shard.train}
    assert not any("Jaime Vasquez" in example.prompt + example.answer for example in dataset.public)


def test_bad_settings_are_explained(tofu_folder: Path, tmp_path: Path) -> None:
    source = str(tofu_folder)
    for spec, message in (
        (TofuData(source=str(tmp_path / "none")), r"data\.source: there is no file or folder .*none"),
        (
            TofuData(source=source, config="fool"),
            r"data\.source: cannot open .*, configuration fool, split train: .*fool",
        ),
        (TofuData(source=source, prompt="{query}{answer}"), r"there is no column 'query'; the columns are question, answer"),
        (TofuData(source=source, config="forget10"), r"data\.clients: 200 clients asked for, .* has 20"),
    ):
        with pytest.raises(InputError, match=message):
            data.load(spec, 0)
    # 400 rows of forget10 are the last 20 authors
    twenty = data.load(TofuData(source=source, config="forget10", clients=20), 0)
    whole = data.load(TofuData(source=source), 0)
    assert [shard.train for shard in twenty.shards] == [shard.train for shard in whole.shards[180:]]
