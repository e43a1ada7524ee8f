"""An exported folder opens with the library alone, and gives the logits of the module that a client is served."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
import yaml
from contract import TWEETS, life_of, small
from peft import PeftModel
from test_families import CASES, FORUM, SMALL
from test_families import t5 as t5
from tiny_scenario import tiny
from transformers import AutoImageProcessor, AutoTokenizer

from clients.data.pictures import decoded
from clients.errors import InputError
from clients.work.site import Site, open_site
from sim.export.card import card as card_of
from sim.export.folder import export
from sim.export.serving import Serving, serving
from sim.life.saved import SUMMARY
from sim.life.system import read_json
from sim.run import run_scenario
from strategies.registry import REGISTRY
from strategies.state.sum import MEAN
from strategies.state.vectors import Vectors

FREE: dict[str, Any] = {
    "data": {"source": "fiction", "clients": 4, "pairs": 2, "public_authors": 8},
    "model": {"tiny": SMALL},
}
LORA = {"rank": 2, "alpha": 6}
KINDS: dict[str, dict[str, Any]] = {
    "causal": FREE,
    "encoder-decoder": {"data": FORUM, "model": {"base": "t5"}},
    "fresh head": CASES["fresh head"],
    "label head": CASES["label head"],
    "clip": CASES["clip i"],
    "image classifier": CASES["resnet"],
    "bfloat16": CASES["bfloat16"],
    "causal, adapters": CASES["lora"],
    "encoder-decoder, adapters": {"data": FORUM, "model": {"base": "t5", "lora": LORA}},
    "fresh head, adapters": {"data": FORUM, "model": {"tiny": SMALL, "head": "fresh", "lora": LORA}},
    "clip, adapters": CASES["clip lora"],
}


def played(folder: Path, case: dict[str, Any], t5: Path | None = None, **more: Any) -> Path:
    """A run with one deletion in which vectors are far from 0."""
    model = {"max_length": 64} | case["model"]
    model |= {"base": str(t5)} if model.get("base") == "t5" else {}
    sections = {"strategies": ["average", "local"], "stream": {"requests": 1}, "tuning": {"steps": 3, "lr": 0.03}}
    return run_scenario(tiny(**case | sections | {"model": model} | more), folder / "run")


def opened(folder: Path, served: Serving, base: Path | None = None) -> Any:
    """The exported folder, as its card says that it is opened."""
    auto = getattr(transformers, served.library.auto)
    if served.model.lora is None:
        return auto.from_pretrained(folder).eval()
    options = {"num_labels": served.library.module.config.num_labels} if served.library.heads else {}
    where = base or folder / "base"
    return PeftModel.from_pretrained(auto.from_pretrained(where, **options), folder).eval()


@torch.no_grad()
def library_logits(module: Any, folder: Path, site: Site, example: Any) -> torch.Tensor:
    """What the library's own forward says of an example, whose picture its own processor reads."""
    if site.manifest.pictures:
        pixels = AutoImageProcessor.from_pretrained(folder, backend="pil")([decoded(example.image)], return_tensors="pt")
        if not hasattr(module, "text_model"):
            return module(**pixels).logits
        captions = list(site.manifest.label_sets[example.label_set].captions)
        words = AutoTokenizer.from_pretrained(folder)(captions, padding=True, return_tensors="pt")
        return module(input_ids=words.input_ids, attention_mask=words.attention_mask, **pixels).logits_per_image
    (encoded,) = site.model.encode([example])
    if module.config.is_encoder_decoder:
        asked, answer = encoded.ids[: -encoded.answer], encoded.ids[-encoded.answer :]
        start = module.config.decoder_start_token_id
        return module(input_ids=torch.tensor([asked]), decoder_input_ids=torch.tensor([[start, *answer[:-1]]])).logits
    return module(input_ids=torch.tensor([encoded.ids])).logits


@torch.no_grad()
def run_logits(site: Site, theta: np.ndarray, example: Any) -> torch.Tensor:
    """What the run's own model says of it, at these parameters; of the labels of its set, or of its answer's tokens."""
    site.model.assign(theta)
    try:
        encoded: Any = site.model.encode([example])
        if hasattr(site.model, "logits"):
            found = site.model.logits(encoded)
            return found[:, found[0].isfinite()]
        return site.model._predict(encoded)[0]  # type: ignore[attr-defined]
    finally:
        site.model.reset()


@pytest.mark.parametrize("kind", KINDS)
def test_the_folder_opens_with_the_logits_that_are_served(kind: str, t5: Path, tmp_path: Path) -> None:
    """Bit for bit those of the served module; and the run's own, to its rounding: it takes a batch's products apart."""
    run = played(tmp_path, KINDS[kind], t5)
    life = life_of(run)
    site, kept = open_site(life.system.settings), life.system.kept["plain"]
    member = sorted(kept.members)[0]
    example, theta0 = site.shard(member).examples[0], site.model.theta0.numpy()
    thetas = {"average": theta0 + kept.direction(MEAN), "local": theta0 + kept[Vectors()].read(member)}
    seen = []
    for label, client in (("average", None), ("local", member)):
        served, target = serving(run, label, client), tmp_path / label
        files = export(served, target, client is not None)
        assert {"README.md", *(["config.json"] if served.model.lora is None else ["adapter_config.json"])} <= set(files)
        assert not [name for name in files if name.endswith((".bin", ".pt", ".pkl"))]
        base = t5 if KINDS[kind]["model"].get("base") == "t5" else None
        logits = library_logits(served.library.module, target, site, example)
        assert torch.equal(library_logits(opened(target, served, base), target, site, example), logits)
        own = run_logits(site, thetas[label], example)
        if kind.startswith("causal") or kind == "bfloat16":  # the run's are of the answer's tokens alone
            logits = logits[:, -1 - own.shape[1] : -1]
        near = {"rtol": 1e-4, "atol": 2e-5} if kind != "bfloat16" else {"rtol": 0.1, "atol": 0.1}
        assert torch.allclose(logits, own, **near)
        seen.append(logits)
    assert not torch.equal(*seen)


def front_matter(card: str) -> dict[str, Any]:
    nothing, front, _ = card.split("---\n", 2)
    assert nothing == ""
    found: dict[str, Any] = yaml.safe_load(front)
    return found


def test_the_card_tells_recipe_price_exactness_and_digests_and_names_nobody(t5: Path, tmp_path: Path) -> None:
    (t5 / "README.md").write_text("---\nlicense: apache-2.0\n---\n# T5\n")
    run = played(tmp_path, KINDS["encoder-decoder"], t5)
    life = life_of(run)
    member = sorted(life.present)[0]
    served = serving(run, "local", member)
    export(served, tmp_path / "out", True)
    card = (tmp_path / "out" / "README.md").read_text()
    assert front_matter(card) == {
        "license": "apache-2.0",
        "library_name": "transformers",
        "tags": ["unmerge", "machine-unlearning", "model-merging"],
    }
    assert "# local, as served to one client" in card
    assert "Deletion is **exact**" in card
    assert "Deletions carried out: 1. Clients left: 3." in card
    told = read_json(run / SUMMARY)["strategies"]["local"]
    assert told["state_digest"] in card
    assert served.site.model.digest in card
    assert "| learn | 12 | 4 |" in card  # 4 clients of 3 steps
    assert "| forget | 0 | 0 |" in card
    recipe = yaml.safe_load(card.split("```yaml\n")[1].split("```")[0])
    assert (recipe["model"]["base"], recipe["tuning"]["steps"], recipe["rule"]) == ("t5", 3, "plain")
    names = life.system.population.clients
    assert len(names) == 4
    for path in (tmp_path / "out").iterdir():
        if path.name in ("README.md", "config.json", "generation_config.json"):
            assert not [name for name in names if name in path.read_text()]
            assert str(tmp_path) not in path.read_text()
    (bits,) = [line.split("|")[2].strip() for line in card.splitlines() if "`model.safetensors`" in line]
    assert bits == hashlib.sha256((tmp_path / "out" / "model.safetensors").read_bytes()).hexdigest()


def test_a_hub_model_is_named_and_an_approximate_strategy_says_what_it_is(tmp_path: Path) -> None:
    run = played(tmp_path, FREE, strategies=[{"gradient_ascent": {"steps": 2, "edit_steps": 1, "batch": 8}}])
    served = serving(run, "gradient_ascent")
    export(served, tmp_path / "out", False)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "as served to anybody" in card
    assert "**approximate**" in card
    assert "base_model" not in front_matter(card)  # tiny-gpt2 is no model of the hub
    hub = replace(served, where="org/model")
    spec = served.life.system.scenario.model.model_copy(update={"base": "org/model"})
    hub.life.system.scenario = hub.life.system.scenario.model_copy(update={"model": spec})
    assert front_matter(card_of(hub, False, {}))["base_model"] == "org/model"


def test_what_is_there_is_not_touched_and_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = played(tmp_path, FREE)
    served = serving(run, "average")
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError, match="exists already"):
        export(served, tmp_path / "there", False)
    assert list((tmp_path / "there").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made"):
        export(served, tmp_path / "file" / "out", False)

    def full(*_: Any) -> str:
        raise OSError(28, "No space left on device")

    before = sorted(path.name for path in tmp_path.iterdir())
    monkeypatch.setattr("sim.export.folder.card", full)
    with pytest.raises(OSError, match="No space"):
        export(served, tmp_path / "out", False)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("average", "u99", None), "--client u99: there is no such client"),
        (("averages", None, None), "--strategy averages: the run has average, local"),
        (("average", None, 3), "--seed 3: .* has the seeds 7"),
    ],
)
def test_what_is_not_there_is_told(finished: Path, asked: tuple[Any, ...], message: str, tmp_path: Path) -> None:
    if "averages" in asked:
        message = "--strategy averages: the run has zero_shot, local, average"
    with pytest.raises(InputError, match=message):
        serving(finished, *asked)


ONE_MODEL = [
    name
    for name in REGISTRY
    if name not in ("label_prior", "ridge", "ridge_own", "class_means", "sisa", "s3t", "linear_negation")
]
TWEETS_LIFE: dict[str, Any] = {"data": TWEETS, "model": {"tiny": SMALL}}


@pytest.fixture(scope="module")
def every(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of every strategy on labelled data, with one deletion."""
    return played(tmp_path_factory.mktemp("every"), TWEETS_LIFE, strategies=[small(name) for name in REGISTRY], audit=[])


@pytest.mark.parametrize("name", REGISTRY)
def test_every_strategy_serves_a_module_or_says_why_not(every: Path, name: str) -> None:
    member = sorted(life_of(every).system.kept_of(name).members)[0]
    if name in ONE_MODEL:
        module = serving(every, name, member).library.module
        assert isinstance(module, torch.nn.Module)
        assert not any(parameter.requires_grad for parameter in module.parameters())
    else:
        with pytest.raises(InputError, match=rf"--strategy {name}: what is served is (a|the|several) .*, and not one model"):
            serving(every, name, member)


def test_nobody_in_particular_is_served_what_the_forgotten_are(every: Path) -> None:
    (gone,) = life_of(every).record["forgotten"]
    for label in ("sift_masks", "local", "clamu"):
        states = [serving(every, label, client).library.module.state_dict() for client in (None, gone)]
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_a_module_is_a_copy(every: Path) -> None:
    site = open_site(life_of(every).system.settings)
    module = serving(every, "average").library.module
    before = {name: value.clone() for name, value in module.state_dict().items()}
    site.model.flat.fill_(3.0)
    site.model.reset()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    assert torch.equal(site.model.flat, site.model.theta0)
    assert any(value.any() for value in before.values())


def test_heads_that_the_library_has_no_class_for_are_refused(t5: Path, tmp_path: Path) -> None:
    run = played(tmp_path / "t5", {"data": FORUM, "model": {"base": "t5", "head": "fresh"}}, t5)
    with pytest.raises(InputError, match=r"model.head: fresh: transformers has no classifier .* on a t5"):
        serving(run, "average")
    case = {"data": CASES["clip i"]["data"], "model": CASES["clip i"]["model"] | {"tune": "all"}}
    run = played(tmp_path / "clip", case)
    with pytest.raises(InputError, match="class prompts' embeddings were tuned too"):
        serving(run, "average")
