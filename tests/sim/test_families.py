"""The whole simulation over every family of data and kind of base model: learned, deleted, verified."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_run import summary_of
from tiny_scenario import TINY, tiny

from clients.errors import InputError
from clients.exact.bits import sign_vector
from clients.jobs import perform, tune_job
from clients.models import tiny_gpt2
from clients.models.tiny_clip import close_texts
from clients.work.contributions import VECTOR
from clients.work.site import open_site
from sim.proof.verify import verify
from sim.run import run_scenario

STRATEGIES = ["zero_shot", "local", "average", "sift_masks", "mask_only", {"clamu": {"clusters": 2, "steps": 2}}, "emr"]
SMALL = {"layers": 1, "width": 16, "heads": 2, "vocabulary": 300, "steps": 4, "batch": 4}
CLIP = {"layers": 1, "width": 16, "heads": 2, "vocabulary": 300, "pixels": 8, "steps": 4, "batch": 8}
RESNET = {"depths": [1], "widths": [8], "pixels": 8, "steps": 4, "batch": 8}
DIGITS = [{"source": "digits", "config": "upright"}, {"source": "digits", "config": "negative"}]
PICTURES = {"family": "images", "clients": 4, "maximum": 12, "minimum": 8, "validation": 2, "test": 4, "public_clients": 2}
POSTS = {"clients": 4, "minimum": 8, "maximum": 10, "validation": 2, "test": 3, "public_clients": 3}
FORUM = {"source": "forum", "subreddits": 10, **POSTS}


@pytest.fixture
def t5(tmp_path: Path) -> Path:
    """A random T5 of a few thousand parameters."""
    from transformers import T5Config, T5ForConditionalGeneration

    tokenizer = tiny_gpt2.train_tokenizer(300, ["Comment: a text\nSubreddit: cycling"])
    close_texts(tokenizer)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
    end = tokenizer.eos_token_id
    config = T5Config(vocab_size=300, **sizes, decoder_start_token_id=end, eos_token_id=end, pad_token_id=end)
    folder = tmp_path / "t5"
    T5ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


CASES: dict[str, dict[str, Any]] = {
    "sent140": {"data": {"source": "microblog", **POSTS}, "model": {"tiny": SMALL}},
    "reddit, dealt": {
        "data": {**FORUM, "partitioner": {"name": "pathological", "classes": 2}},
        "model": {"tiny": SMALL},
    },
    "fresh head": {"data": FORUM, "model": {"tiny": SMALL, "head": "fresh"}},
    "label head": {"data": FORUM, "model": {"tiny": SMALL, "head": "labels"}},
    "lora": {"data": {"source": "microblog", **POSTS}, "model": {"tiny": SMALL, "lora": {"rank": 2}}},
    "bfloat16": {"data": {"source": "microblog", **POSTS}, "model": {"tiny": SMALL, "dtype": "bfloat16"}},
    "clip i": {"data": {**PICTURES, "sets": DIGITS}, "model": {"base": "tiny-clip", "tiny_clip": CLIP}},
    "clip ii": {
        "data": {**PICTURES, "sets": DIGITS, "partitioner": {"name": "label_subsets"}},
        "model": {"base": "tiny-clip", "tiny_clip": CLIP},
    },
    "clip lora": {
        "data": {**PICTURES, "sets": DIGITS},
        "model": {"base": "tiny-clip", "tiny_clip": CLIP, "lora": {"rank": 2}},
    },
    "resnet": {
        "data": {**PICTURES, "sets": [{"source": "digits"}], "partitioner": {"name": "dirichlet", "alpha": 1.0}},
        "model": {"base": "resnet-18", "resnet": RESNET},
    },
}


def played(tmp_path: Path, case: dict[str, Any]) -> dict[str, Any]:
    """The summary of a run of all strategies with two deletions, once it has been verified."""
    model = {"max_length": 64} | case["model"]
    stream = {"requests": 2, "release": {"every": 2}}
    scenario = tiny(**case | {"model": model, "strategies": STRATEGIES, "stream": stream, "tuning": {"steps": 2}})
    run = run_scenario(scenario, tmp_path / "run")
    findings, traces = verify(run)
    assert [finding.equal for finding in findings] == [True] * len(STRATEGIES)
    assert traces == []
    return summary_of(run)


@pytest.mark.parametrize("name", CASES)
def test_every_family_deletes_bit_for_bit(name: str, tmp_path: Path) -> None:
    told = played(tmp_path, CASES[name])
    assert told["metric"] == "accuracy"
    assert told["clients"] == 4
    assert all(strategy["bitwise_equal"] for strategy in told["strategies"].values())
    forgotten = {label: s["accuracy"]["forgotten_after"] for label, s in told["strategies"].items()}
    assert forgotten["local"] == forgotten["zero_shot"] == forgotten["mask_only"]


def test_an_encoder_decoder_deletes_bit_for_bit(t5: Path, tmp_path: Path) -> None:
    played(tmp_path, {"data": FORUM, "model": {"base": str(t5)}})


def test_the_allotment_is_recorded(tmp_path: Path) -> None:
    told = played(tmp_path, CASES["clip i"])
    first, *rest = told["data"]
    assert first == "3,594 rows were read."
    assert rest[:3] == [
        "upright: 2 clients of 6 + 2 + 4 images, 1 public one, 36 of 1,797 images used.",
        "negative: 2 clients of 6 + 2 + 4 images, 1 public one, 36 of 1,797 images used.",
        "4 clients of 12 to 12 examples (median 12): 24 train, 8 validation, 16 test.",
    ]
    assert [line.partition(" labels")[0] for line in rest[3:5]] == ["upright: 10", "negative: 10"]


def test_lora_moves_adapters_only_and_under_the_shared_signs() -> None:
    site = open_site(tiny(**CASES["lora"]).settings(7))
    assert all(".lora_A." in name or ".lora_B." in name for name in site.model.layout.names)
    client = site.manifest.clients[0]
    vector = perform(site, tune_job([client], "sign_fixed", [VECTOR]), {}).arrays[f"vector/{client}"]
    assert vector.size == site.model.layout.size < site.model.parameters / 5
    assert (vector * sign_vector(7, vector.size) >= 0).all()
    assert np.count_nonzero(vector) > vector.size // 8


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"data": {**PICTURES, "sets": DIGITS}}, "tiny-gpt2 reads texts, and the data are pictures; take tiny-clip"),
        ({"model": {"base": "tiny-clip"}}, "tiny-clip looks at pictures, and the data are texts"),
        ({"data": {**PICTURES, "sets": DIGITS}, "model": {"base": "resnet-18"}}, "has one head, and data.sets has 2 sets"),
        ({"model": TINY["model"] | {"head": "fresh"}}, "model.head: fresh needs labels, and the answers"),
        (
            {"data": PICTURES | {"sets": DIGITS, "clients": 400}},
            "data.clients: 400 clients asked for, digits, digits has",
        ),
        (
            {"data": {"source": "microblog"} | POSTS | {"clients": 400}},
            "data.clients: 400 clients asked for, microblog has 257",
        ),
        ({"data": {**PICTURES, "sets": [{"source": "digits", "label": "digit"}]}}, "has no column 'digit'"),
        ({"data": {**FORUM, "subreddits": ["cycling", "sailing"]}}, "sailing"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_is_written(
    sections: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        run_scenario(tiny(**sections), tmp_path / "run")
    assert message in str(caught.value)
    assert not (tmp_path / "run").exists()
