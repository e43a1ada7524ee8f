import io
import random
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clients.data import digits, image_sets, images
from clients.data import loaders as data
from clients.data.dataset import Dataset, Example, Shard
from clients.data.sides import draw
from clients.data.specs import ImageData
from clients.errors import InputError

LETTERS = ["a_b", "c", "d", "e", "f", "g"]


def picture(name: str, row: int, kind: str = "PNG", size: int = 4) -> bytes:
    """A picture that no other row of any set has."""
    file = io.BytesIO()
    rng = random.Random(f"{name}/{row}")
    Image.frombytes("RGB", (size, size), rng.randbytes(3 * size * size)).save(file, format=kind)
    return file.getvalue()


def floats() -> bytes:
    """A TIFF of numbers of which nobody says which one is white."""
    file = io.BytesIO()
    Image.new("F", (4, 4), 0.5).save(file, format="TIFF")
    return file.getvalue()


Make = Callable[..., dict[str, str]]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes an image set in the layout of the hub and gives its entry in ``sets``.

    ``image`` and ``label`` say what the columns are: a kind of picture column, class names, or a plain type.
    """
    import datasets  # here, as it reads the environment, where the tests' cache is named, when it is imported

    stored = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    kinds = {"image": datasets.Image(), "struct": stored, "array": datasets.Array2D((2, 2), "uint8")}

    def write(
        name: str,
        labels: Sequence[Any],
        pictures: Sequence[Any] | None = None,
        image: str = "image",
        label: str | list[str] = LETTERS,
        **more: Sequence[Any],
    ) -> dict[str, str]:
        cells = [{"bytes": picture(name, i), "path": None} for i in range(len(labels))] if pictures is None else pictures
        features = {
            "image": kinds[image] if image in kinds else datasets.Value(image),
            "label": datasets.Value(label) if isinstance(label, str) else datasets.ClassLabel(names=label),
            **{key: datasets.Value("string") for key in more},
        }
        table = datasets.Dataset.from_dict({"image": cells, "label": labels, **more}, datasets.Features(features))
        # datasets takes two folders for one where their own name and README are alike
        folder = tmp_path / f"{tmp_path.name}-{name}"
        folder.mkdir()
        table.to_parquet(folder / "train.parquet")
        (folder / "README.md").write_text(
            f"---\nconfigs:\n- config_name: {name}\n  data_files:\n  - split: train\n    path: train.parquet\n---\n"
        )
        return {"source": str(folder), "config": name}

    return write


def loaded(*sets: dict[str, str], seed: int = 7, **options: Any) -> Dataset:
    given = {"sets": sets, "clients": 5, "minimum": 1, "maximum": 3, "validation": 1, "test": 0}
    return images.load(ImageData.model_validate(given | options), seed)


def examples(shard: Shard) -> tuple[Example, ...]:
    return shard.examples


def labels(shard: Shard) -> set[str]:
    return {example.answer for example in examples(shard)}


def known(name: str, answers: Sequence[str]) -> dict[bytes, Example]:
    """What each picture of a set should become."""
    return {picture(name, i): Example("", answer, picture(name, i), name) for i, answer in enumerate(answers)}


def assert_whole(dataset: Dataset, expected: dict[bytes, Example]) -> None:
    """Every picture comes with its own class and set, and none is used twice."""
    used = [example for shard in dataset.shards for example in examples(shard)] + list(dataset.public)
    assert all(example == expected[example.image] for example in used)
    assert max(Counter(example.image for example in used).values()) == 1


def test_clients_are_dealt_to_the_sets_in_turn(make: Make) -> None:
    """Parts of three: two of a's seven, ten of b's thirty, one of c's three: a0 b0 c0 a1 | b1 b2 b3 b4 b5 b6."""
    sets = make("a", [1] * 7), make("b", [2] * 30), make("c", [0] * 3)
    dataset = loaded(*sets, clients=6, public_clients=4)
    assert dataset.manifest.clients == ("b-1", "b-2", "b-3", "b-4", "b-5", "b-6")
    assert [(len(shard.train), len(shard.validation)) for shard in dataset.shards] == [(2, 1)] * 6
    assert Counter(example.label_set for example in dataset.public) == {"a": 6, "b": 3, "c": 3}
    assert dataset.notes == (
        "a: 0 clients, 2 public ones, 6 of 7 images used.",
        "b: 6 clients of 2 + 1 images, 1 public one, 21 of 30 images used.",
        "c: 0 clients, 1 public one, 3 of 3 images used.",
    )
    assert_whole(dataset, known("a", ["c"] * 7) | known("b", ["d"] * 30) | known("c", ["a b"] * 3))
    assert loaded(*sets, clients=5).manifest.clients == ("a-0", "a-1", "b-0", "b-1", "c-0")
    assert loaded(*sets, clients=2).manifest.clients == ("a-0", "b-0")
    assert dataset.manifest.pictures
    assert dataset.manifest.metric == "accuracy"


def test_what_a_small_set_gives(make: Make) -> None:
    """Fewer than the maximum make one part, fewer than the minimum none."""
    dataset = loaded(make("two", [0, 1]), make("one", [0]), make("five", [0] * 5), minimum=2)
    assert dataset.manifest.clients == ("five-0", "two-0")
    assert [(len(shard.train), len(shard.validation)) for shard in dataset.shards] == [(2, 1), (1, 1)]
    assert dataset.notes == (
        "two: 1 client of 1 + 1 images, 2 of 2 images used.",
        "one: 0 clients, 0 of 1 images used.",
        "five: 1 client of 2 + 1 images, 3 of 5 images used.",
        "one: 1 of 1 clients have fewer than data.minimum = 2 images.",
        "A client takes up to data.maximum = 3 images; with fewer of them there are more clients.",
    )


def test_too_few_clients_are_explained(make: Make) -> None:
    spec = ImageData.model_validate(
        {"sets": [make("a", [0] * 50)], "clients": 3, "minimum": 2, "maximum": 20, "validation": 4, "test": 6}
    )
    message = (
        r"data\.clients: 3 clients asked for, .* has 2\. a: 2 clients of 10 \+ 4 \+ 6 images, 40 of 50 images used\. "
        r"A client takes up to data\.maximum = 20 images"
    )
    with pytest.raises(InputError, match=message):
        data.load(spec, 1)


def test_label_subsets_are_disjoint_and_take_turns(make: Make) -> None:
    """Six labels of four pictures in pairs: three subsets of eight, each with two parts of three."""
    one = make("a", [i // 4 for i in range(24)])
    answers = [LETTERS[i // 4].replace("_", " ") for i in range(24)]
    dataset = loaded(one, clients=3, public_clients=3, partitioner={"name": "label_subsets", "classes": 2}, validation=0)
    assert dataset.manifest.clients == ("a-3", "a-4", "a-5")
    public = [{example.answer for example in dataset.public[i : i + 3]} for i in (0, 3, 6)]
    both = [labels(shard) | mine for shard, mine in zip(dataset.shards, public, strict=True)]
    assert all(len(pair) == 2 for pair in both)
    assert all(not one & other for one, other in combinations(both, 2))
    assert dataset.notes == ("a: 3 clients of 3 images, 3 public ones, 18 of 24 images used.",)
    assert_whole(dataset, known("a", answers))


def test_a_subset_has_the_clients_that_it_has_pictures_for(make: Make) -> None:
    """Labels of 9, 4 and 1 pictures alone: three, one and no parts of three, as one is below the minimum."""
    one = make("a", [0] * 9 + [1] * 4 + [2])
    dataset = loaded(one, clients=4, minimum=2, partitioner={"name": "label_subsets", "classes": 1}, validation=0)
    assert sorted(next(iter(labels(shard))) for shard in dataset.shards) == ["a b", "a b", "a b", "c"]
    assert [len(labels(shard)) for shard in dataset.shards] == [1, 1, 1, 1]
    assert dataset.notes[1] == "a: 1 of 5 clients have fewer than data.minimum = 2 images."


@pytest.mark.filterwarnings("ignore:Classes")
def test_a_library_partitioner_deals_within_each_set(make: Make) -> None:
    """Twelve pictures of two labels, sizes as asked: the larger part of each set comes first."""
    sets = make("a", [0, 1] * 6), make("b", [0, 1] * 6)
    dataset = loaded(*sets, clients=3, maximum=9, validation=0, partitioner={"name": "sizes", "sizes": [4, 8]})
    assert {shard.client: len(shard.train) for shard in dataset.shards} == {"a-1": 8, "b-1": 8, "a-0": 4}
    answers = ["a b", "c"] * 6
    assert_whole(dataset, known("a", answers) | known("b", answers))
    one_class = {"name": "pathological", "classes": 1}
    dataset = loaded(sets[0], clients=4, partitioner=one_class, validation=0)
    assert [len(labels(shard)) for shard in dataset.shards] == [1] * 4


def test_clients_named_by_a_column(make: Make) -> None:
    """Largest first, ties by name; a row without a writer or a label is nobody's."""
    writers = ["x", "z", "x", "y", "z", "x", None, "w", "y", "w", "x", "x"]
    answers = [0, 1, 2, 3, 4, 5, 0, 1, 2, None, 4, 5]
    first = make("a", answers, writer=writers)
    dataset = loaded(first, client_column="writer", clients=2, maximum=4, minimum=2)
    assert dataset.manifest.clients == ("x", "y")
    pictures = known("a", [LETTERS[answer or 0].replace("_", " ") for answer in answers])
    of_x = draw("x", [pictures[picture("a", i)] for i in (0, 2, 5, 10, 11)], 4, 7)
    assert [set(examples(dataset.shard(name))) for name in ("x", "y")] == [
        set(of_x),
        {pictures[picture("a", i)] for i in (3, 8)},
    ]
    assert dataset.notes == (
        "a: 2 clients of 1 + 1 to 3 + 1 images, 6 of 12 images used.",
        "a: 1 of 12 images have no label and are left out.",
        "a: 1 of 12 images have no value in column 'writer' and are left out.",
        "a: 1 of 4 clients have fewer than data.minimum = 2 images.",  # w, whose second picture has no label
    )
    public = loaded(first, client_column="writer", clients=2, maximum=4, minimum=2, public_clients=1)
    assert public.manifest.clients == ("y", "z")
    assert list(public.public) == of_x

    second = make("b", [0, 1, 2], writer=["x", "v", "v"])
    both = loaded(first, second, client_column="writer", clients=3, maximum=4)
    assert both.manifest.clients == ("a-x", "a-y", "b-v")  # a-x, b-v, a-y in turn
    assert both.shard("b-v").train[0].label_set == "b"


def test_classes_and_captions(make: Make) -> None:
    """Classes in the column's own order where it has one, else sorted, numbers as numbers; captions by the set's name."""
    dtd = make("dtd", [5, 0])
    text = make("flowers", ["wild_rose", "oak", "oak"], label="string")
    numbers = make("MNIST", [10, 2, 1], label="int64")
    named = make("b", [0, 1], label=["x", "y"]) | {"caption": "{label}, drawn"}
    found = loaded(dtd, text, numbers, named, clients=4).label_sets
    assert list(found) == ["dtd", "flowers", "MNIST", "b"]
    assert [found[name].labels for name in found] == [
        ("a b", "c", "d", "e", "f", "g"),
        ("oak", "wild rose"),
        ("1", "2", "10"),
        ("x", "y"),
    ]
    assert found["dtd"].captions[:2] == ("a photo of a a b texture.", "a photo of a c texture.")
    assert found["flowers"].captions == ("a photo of a oak.", "a photo of a wild rose.")
    assert found["MNIST"].captions == (
        'a photo of the number: "1".',
        'a photo of the number: "2".',
        'a photo of the number: "10".',
    )
    assert found["b"].captions == ("x, drawn", "y, drawn")


def test_a_set_is_known_by_its_source_where_its_configuration_is_not() -> None:
    sets = ImageData.model_validate(
        {"sets": [{"source": "ufldl-stanford/svhn", "config": "cropped_digits"}, "tanganke/resisc45"]}
    ).sets
    assert [image_sets.caption_of(each) for each in sets] == [
        'a photo of the number: "{label}".',
        "satellite imagery of {label}.",
    ]


def test_digits_are_three_sets() -> None:
    sets = [{"source": "digits", "config": config} for config in ("upright", "negative", "turned")]
    dataset = loaded(*sets, clients=6, public_clients=3, maximum=20, validation=10, test=0)
    assert dataset.manifest.clients == ("negative-1", "negative-2", "turned-1", "turned-2", "upright-1", "upright-2")
    for config, found in dataset.label_sets.items():
        assert set(found.labels) == set(digits.WORDS)
        assert found.captions == tuple(digits.CAPTIONS[config].replace("{label}", label) for label in found.labels)
    expected = {
        row["image"]["bytes"]: Example("", row["label"], row["image"]["bytes"], config)
        for config in dataset.label_sets
        for row in digits.rows(config)
    }
    assert_whole(dataset, expected)


def test_the_seed_decides_who_has_what(make: Make) -> None:
    one = make("a", [i % 6 for i in range(24)])
    for options in ({}, {"partitioner": {"name": "label_subsets", "classes": 2}}):
        assert loaded(one, **options) == loaded(one, **options)
        first, second = loaded(one, **options), loaded(one, seed=8, **options)
        assert [set(examples(shard)) for shard in first.shards] != [set(examples(shard)) for shard in second.shards]


def test_pictures_may_be_files_or_plain_bytes(make: Make, tmp_path: Path) -> None:
    files = [tmp_path / f"{i}.jpg" for i in range(2)]
    for i, file in enumerate(files):
        file.write_bytes(picture("files", i, "JPEG"))
    by_path = make("files", [0, 1], [{"bytes": None, "path": str(file)} for file in files])
    plain = make("plain", [0, 1], [picture("plain", i) for i in range(2)], "binary")
    stored = make("stored", [0, 1], [{"bytes": picture("stored", i), "path": None} for i in range(2)], "struct")
    dataset = loaded(by_path, plain, stored, clients=3)
    assert dataset.manifest.clients == ("files-0", "plain-0", "stored-0")
    assert {example.image for example in examples(dataset.shard("files-0"))} == {file.read_bytes() for file in files}
    for name in ("plain", "stored"):
        assert {example.image for example in examples(dataset.shard(f"{name}-0"))} == {picture(name, 0), picture(name, 1)}


JPEG = picture("whole", 0, "JPEG", 64)
PNG = picture("whole", 0, "PNG", 64)
FLOATS = floats()


@pytest.mark.parametrize(
    "cell",
    [
        {"bytes": b"not a picture", "path": None},
        {"bytes": JPEG[: len(JPEG) // 2], "path": None},
        {"bytes": PNG[: len(PNG) // 2], "path": None},
        {"bytes": PNG[:200] + bytes(60) + PNG[260:], "path": None},
        {"bytes": b"", "path": None},
        {"bytes": FLOATS, "path": None},
        {"bytes": None, "path": "/no/such/file.png"},
        None,
    ],
)
def test_a_used_picture_that_cannot_be_decoded_is_named(make: Make, cell: Any) -> None:
    cells = [{"bytes": picture("a", i), "path": None} for i in range(6)]
    cells[4] = cell
    kind = "struct" if cell and cell["path"] else "image"  # datasets itself does not write paths of no file
    one = make("a", [0] * 6, cells, kind, writer=["x"] * 3 + ["y"] * 2 + ["x"])
    message = r"data\.sets: a: column 'image', row 4: no picture \(.+\); whole PNG or JPEG bytes are needed"
    for clients in ({"clients": 2}, {"clients": 1, "public_clients": 1}, {"clients": 1, "maximum": 4, "public_clients": 1}):
        with pytest.raises(InputError, match=message):
            loaded(one, client_column="writer", **clients)
    # y, whose picture it is, is not used: x has more
    assert loaded(one, client_column="writer", clients=1).manifest.clients == ("x",)


@pytest.mark.filterwarnings("ignore:The specified min_partition_size")
def test_bad_sets_are_explained(make: Make, tmp_path: Path) -> None:
    good = make("good", [0, 1] * 3)
    text = make("text", [0, 1], ["one", "two"], "string")
    numbers = make("numbers", [0, 1], [1.5, 2.5], "float32")
    arrays = make("arrays", [0, 1], [[[1, 2], [3, 4]]] * 2, "array")
    real = make("real", [0.5, 1.5], label="float64")
    single = make("single", ["x", "x"], label="string")
    many = make("many", list(range(1001)), [None] * 1001, label="int32")
    for one, options, message in (
        (good | {"image": "img"}, {}, r"data\.sets: good: .* has no column 'img'; its columns are image, label"),
        (good | {"label": "fine"}, {}, r"data\.sets: good: .* has no column 'fine'"),
        (good, {"client_column": "writer"}, r"data\.sets: good: .* has no column 'writer'"),
        (good | {"split": "test"}, {}, r"data\.sets: good: cannot open .*good, configuration good, split test"),
        ({"source": str(tmp_path / "none")}, {}, r"data\.sets: none: there is no file or folder .*none"),
        ({"source": "digits", "config": "odd"}, {}, r"data\.sets: odd: digits has no configuration 'odd', only upright"),
        (text, {}, r"data\.sets: text: column 'image' is of type string; pictures are needed, as PNG or JPEG bytes"),
        (numbers, {}, r"data\.sets: numbers: column 'image' is of type float32; pictures are needed"),
        (arrays, {}, r"data\.sets: arrays: column 'image' is of type .+; pictures are needed"),
        (real, {}, r"data\.sets: real: column 'label' is of type float64; labels are needed, as text, whole numbers"),
        (good | {"label": "image"}, {}, r"data\.sets: good: column 'image' is of type .+; labels are needed"),
        (single, {}, r"data\.sets: single: column 'label' holds 1 different labels; .* takes 2 to 1000"),
        (many, {}, r"data\.sets: many: column 'label' holds 1001 different labels"),
        (
            good,
            {"partitioner": {"name": "label_subsets", "classes": 3}},
            r"data\.sets: good: data\.partitioner\.classes: subsets of 3 labels, but there are only 2 labels",
        ),
        (
            good,
            {"partitioner": {"name": "sizes", "sizes": [4, 4]}},
            r"data\.sets: good: data\.partitioner: sizes cannot deal 6 rows to 2 clients",
        ),
    ):
        with pytest.raises(InputError, match=message):
            loaded(one, **options)


@given(st.lists(st.lists(st.integers(), max_size=6), max_size=5))
def test_taking_turns(queues: list[list[int]]) -> None:
    left, expected = [list(queue) for queue in queues], []
    while any(left):
        for queue in left:
            if queue:
                expected.append(queue.pop(0))
    assert images._in_turn(queues) == expected


def sample(folder: Path, *names: str) -> list[dict[str, str]]:
    for name in names:
        if not (folder / "data" / name).is_dir():
            pytest.skip(f"no {name} in ../shared/data")
    return [{"source": str(folder / "data" / name), "config": name} for name in names]


def test_real_digits_by_writer(shared_folder: Path) -> None:
    dataset = loaded(
        *sample(shared_folder, "mnist"), client_column="writer", clients=300, minimum=20, maximum=110, validation=10
    )
    assert len(dataset.shards) == 300
    assert dataset.label_sets["mnist"].labels == tuple("0123456789")
    table = pq.read_table(shared_folder / "data" / "mnist" / "mnist" / "train.parquet", columns=["writer"])
    writers = Counter(table["writer"].to_pylist())
    assert set(dataset.manifest.clients) <= {str(writer) for writer in writers}
    for shard in dataset.shards[::50]:
        assert len(shard.validation) == 10
        assert len(shard.train) == min(writers[int(shard.client)], 110) - 10
        assert len(labels(shard)) == 10


def test_three_real_sets(shared_folder: Path) -> None:
    """400 // 110 = 3 parts of dtd, 181 of mnist, 54 of cifar10: after three rounds mnist and cifar10 alone take turns."""
    sets = sample(shared_folder, "dtd", "mnist", "cifar10")
    dataset = loaded(*sets, clients=30, public_clients=6, minimum=20, maximum=110, validation=10)
    assert Counter(client.partition("-")[0] for client in dataset.manifest.clients) == {"dtd": 1, "mnist": 15, "cifar10": 14}
    assert Counter(example.label_set for example in dataset.public) == {"dtd": 220, "mnist": 220, "cifar10": 220}
    assert dataset.notes == (
        "dtd: 1 client of 100 + 10 images, 2 public ones, 330 of 400 images used.",
        "mnist: 15 clients of 100 + 10 images, 2 public ones, 1,870 of 20,000 images used.",
        "cifar10: 14 clients of 100 + 10 images, 2 public ones, 1,760 of 6,000 images used.",
        "dtd: Split train is read from dtd/train.parquet; not read: dtd/test.parquet.",
        "mnist: Split train is read from mnist/train.parquet; not read: mnist/test.parquet.",
        "cifar10: Split train is read from cifar10/train.parquet; not read: cifar10/test.parquet.",
    )
    assert dataset.label_sets["dtd"].captions[0] == "a photo of a banded texture."
    assert dataset.label_sets["cifar10"].captions[-1] == "a photo of a truck."
    used = Counter(example.image for shard in dataset.shards for example in examples(shard))
    used.update(example.image for example in dataset.public)
    assert max(used.values()) == 1
