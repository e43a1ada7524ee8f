import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from clients.data.dataset import Dataset, Example
from clients.errors import InputError
from clients.models import loaders as models
from clients.models import text
from clients.models.language import LanguageModel
from clients.settings import ModelSpec
from clients.work.site import Site

NOBODY = Dataset((), ())


def load_folder(folder: Path, **options: Any) -> LanguageModel:
    return models.load(ModelSpec.model_validate({"base": str(folder), "max_length": 64} | options), NOBODY.manifest, "cpu")


@pytest.fixture
def changed(stories_folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """Makes a copy of the real model with some keys of its JSON files or some of its weights changed (None: removed)."""

    def change(weights: dict[str, Any] | None = None, **files: dict[str, Any]) -> Path:
        folder = tmp_path / f"copy{len(list(tmp_path.iterdir()))}"
        shutil.copytree(stories_folder, folder, copy_function=shutil.copyfile)
        folder.chmod(0o755)
        for name, values in files.items():
            path = folder / f"{name}.json"
            old = json.loads(path.read_text()) | values
            path.write_text(json.dumps({key: value for key, value in old.items() if value is not None}))
        if weights:
            path = folder / "model.safetensors"
            tensors = load_file(path) | weights
            kept = {name: t for name, t in tensors.items() if t is not None}
            save_file(kept, path, metadata={"format": "pt"})
        return folder

    return change


def test_a_real_model_loads_and_speaks(stories_folder: Path) -> None:
    model = load_folder(stories_folder)
    assert model.parameters == 260_032  # tied: the head is the embedding and is counted once
    ids = torch.tensor([model.tokenizer.encode("Once upon a time")])
    story = model.tokenizer.decode(model.module.generate(ids, max_new_tokens=30, do_sample=False)[0])
    assert story.startswith("Once upon a time, there was a little girl named Lily. She loved to play")


def test_embeddings_and_head_are_frozen(stories_folder: Path) -> None:
    model = load_folder(stories_folder)
    weights = load_file(stories_folder / "model.safetensors")
    expected = {name for name in weights if "embed_tokens" not in name and "lm_head" not in name}
    assert set(model.layout.names) == expected
    assert model.layout.size == sum(weights[name].numel() for name in expected) == 260_032 - 512 * 64
    for name, shape, start, stop in zip(
        model.layout.names, model.layout.shapes, model.layout.bounds, model.layout.bounds[1:], strict=False
    ):
        assert torch.equal(model.theta0[start:stop].view(shape), weights[name])
    trained = {name for name, p in model.module.named_parameters() if p.requires_grad}
    assert trained == expected


def test_all_has_tied_weights_once(stories_folder: Path) -> None:
    model = load_folder(stories_folder, tune="all")
    assert model.layout.size == 260_032
    assert model.layout.names[0] == "model.embed_tokens.weight"
    model.assign(np.zeros(model.layout.size, dtype=np.float32))
    assert not model.module.get_output_embeddings().weight.any()


def test_patterns_choose_tensors(stories_folder: Path) -> None:
    names = load_folder(stories_folder, tune=["*.mlp.up_proj.*", "model.norm.weight"]).layout.names
    assert names == (*(f"model.layers.{i}.mlp.up_proj.weight" for i in range(5)), "model.norm.weight")
    with pytest.raises(InputError, match=r"model\.tune: no parameter matches .*embed_tokens"):
        load_folder(stories_folder, tune=["*.mpl.*"])


def test_the_module_reads_and_writes_the_flat_buffer(site: Site) -> None:
    model, shard = site.model, site.shard("u0")
    batch = model.encode(shard.train)
    base = model.loss(batch)
    model.grad.zero_()
    base.backward()  # type: ignore[no-untyped-call]
    direction = np.random.default_rng(0).normal(0, 1, model.layout.size)
    slope, step = float(model.grad.double() @ torch.from_numpy(direction)), 1e-3
    losses = []
    for sign in (1, -1):
        model.assign((model.theta0.double().numpy() + sign * step * direction).astype(np.float32))
        losses.append(model.loss(batch).item())
    model.reset()
    assert slope != 0
    assert (losses[0] - losses[1]) / (2 * step) == pytest.approx(slope, rel=0.02, abs=1e-3)  # fp32 difference quotient
    assert model.loss(batch).item() == base.item()


def test_each_part_of_the_flat_buffer_is_its_parameter(site: Site) -> None:
    model = site.model
    numbers = np.arange(model.layout.size, dtype=np.float32)
    model.assign(numbers)
    named = dict(model.module.named_parameters())
    try:
        for name, start, stop in zip(model.layout.names, model.layout.bounds, model.layout.bounds[1:], strict=False):
            np.testing.assert_array_equal(named[name].detach().flatten().numpy(), numbers[start:stop])
    finally:
        model.reset()
    assert model.layout.bounds[-1] == model.layout.size == sum(p.numel() for p in named.values() if p.requires_grad)


def test_digest_changes_with_weights_configuration_and_tokenizer(stories_folder: Path, changed: Callable[..., Path]) -> None:
    digests = [load_folder(stories_folder).digest]
    embedding = load_file(stories_folder / "model.safetensors")["model.embed_tokens.weight"]
    embedding[7, 3] = torch.nextafter(embedding[7, 3], torch.tensor(9.0))  # frozen, but it decides task vectors too
    words = json.loads((stories_folder / "tokenizer.json").read_text())
    words["model"]["merges"] = words["model"]["merges"][:-1]
    digests += [
        load_folder(changed({"model.embed_tokens.weight": embedding})).digest,
        load_folder(changed(config={"rms_norm_eps": 1e-6})).digest,
        load_folder(changed(config={"num_attention_heads": 4, "head_dim": 16, "num_key_value_heads": 2})).digest,
        load_folder(changed(tokenizer_config={"eos_token": "<s>"})).digest,
        load_folder(changed(tokenizer=words)).digest,
    ]
    assert len(set(digests)) == len(digests)
    assert load_folder(changed()).digest == digests[0]  # wherever it lies
    assert load_folder(stories_folder, tune=["*.mlp.*"]).digest == digests[0]  # recipes name the tuned tensors themselves


def test_bad_bases_are_explained(stories_folder: Path, changed: Callable[..., Path], tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    norm = "model.norm.weight"
    for folder, options, message in (
        (tmp_path / "nothing", {}, r"model\.base: there is no folder .*nothing"),
        (empty, {}, r"model\.base: cannot open .*empty as a model: Unrecognized model"),
        (stories_folder, {"max_length": 513}, r"model\.max_length: .* takes 512 tokens, not 513"),
        (changed(tokenizer_config={"eos_token": None}), {}, "has no end-of-sequence token"),
        (changed(config={"model_type": "t5"}), {}, r"model\.base: .* has no weights for \d+ tensors, as decoder"),
        (changed(config={"model_type": "no-such-type"}), {}, r"model\.base: cannot open .* as a model: .*no-such-type"),
        (changed({norm: None}), {}, rf"has no weights for 1 tensors, as {norm}"),
        (changed({norm: torch.ones(63)}), {}, r"model\.base: cannot open .* as a causal language model"),
    ):
        with pytest.raises(InputError, match=message):
            load_folder(folder, **options)
    damaged = changed()
    (damaged / "model.safetensors").write_bytes((stories_folder / "model.safetensors").read_bytes()[:-100])
    with pytest.raises(InputError, match=r"model\.base: cannot open"):
        load_folder(damaged)
    pickled = changed()
    (pickled / "model.safetensors").unlink()
    torch.save({}, pickled / "pytorch_model.bin")
    with pytest.raises(InputError, match="safetensors weights"):
        load_folder(pickled)


def test_a_tokenizer_with_more_tokens_than_the_model(stories_folder: Path, tmp_path: Path) -> None:
    model = load_folder(stories_folder)
    model.tokenizer.add_tokens(["<new>"])
    model.tokenizer.save_pretrained(tmp_path)
    model.module.save_pretrained(tmp_path)
    more = load_folder(tmp_path)
    assert len(more.tokenizer) == 513
    assert more.encode([Example("once", "upon")]) == load_folder(stories_folder).encode([Example("once", "upon")])
    with pytest.raises(InputError, match="token '▁<new>' has number 512, and the model only 512 rows"):
        more.encode([Example("<new>", "once")])


def test_no_answer_loss_where_only_padding_differs(site: Site) -> None:
    """Targets are set on answers only: the loss of a batch is the mean over its answer tokens, whatever the prompts are."""
    model = site.model
    (encoded,) = model.encode((Example("Question:Who?\nAnswer:", "nobody"),))
    shorter = replace(encoded, answer=1)
    sums, counts = model.answer_losses([encoded, shorter])
    assert counts.tolist() == [encoded.answer, 1]
    assert 0 < sums[1] < sums[0]
    last = text.Encoded(encoded.ids, 1)
    assert model.loss([last]).item() == pytest.approx(sums[1], rel=1e-6)
