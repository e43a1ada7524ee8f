"""Scenarios: checked whole, with errors that name file, line and key and say what would be right."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from clients.errors import InputError
from sim.scenario.file import find, load_scenario
from sim.scenario.model import Scenario, schema

SHIPPED = ("quickstart", "tofu", "table", "tofu_gpt2xl", "sent140", "reddit", "stackoverflow", "clip_i", "clip_ii",
           "mnist_writers", "cifar10", "digits_unlearning", "studies/platform", "studies/opening_day", "studies/agents",
           "studies/folds", "studies/adversary")  # fmt: skip


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_scenarios_load_and_fit_the_schema(name: str) -> None:
    scenario = load_scenario(name)
    assert scenario.name == name.removeprefix("studies/")
    jsonschema.validate(yaml.safe_load(find(name).read_text()), schema())
    jsonschema.validate(json.loads(scenario.model_dump_json()), schema())


@pytest.mark.parametrize("name", SHIPPED)
def test_a_resolved_scenario_means_the_same(name: str, tmp_path: Path) -> None:
    scenario = load_scenario(name)
    again = load_scenario(write(tmp_path, yaml.safe_dump(scenario.model_dump(mode="json"), sort_keys=False)))
    assert again == scenario
    assert again.digest() == scenario.digest()


def test_workers_and_report_do_not_change_the_digest_and_everything_else_does() -> None:
    base = Scenario()
    same = [{"workers": {"kind": "inline"}}, {"report": {"html": False}}]
    other: list[dict[str, Any]] = [{"seeds": [8]}, {"tuning": {"steps": 21}}, {"data": {"source": "fiction", "pairs": 11}},
             {"strategies": ["average"]}, {"stream": {"requests": 3}}, {"audit": []}, {"name": "other"}]  # fmt: skip
    assert {Scenario.model_validate(sections).digest() for sections in same} == {base.digest()}
    assert len({Scenario.model_validate(sections).digest() for sections in other} | {base.digest()}) == len(other) + 1


def test_where_a_file_lies_does_not_change_the_digest(tmp_path: Path) -> None:
    digests = set()
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "t.csv").write_text("text,label,who\n")
        text = "data: {family: table, source: t.csv, prompt: '{text}{label}', client_column: who}"
        (tmp_path / folder / "s.yaml").write_text(text)
        scenario = load_scenario(str(tmp_path / folder / "s.yaml"))
        assert scenario.data.source == str(tmp_path / folder / "t.csv")
        digests.add(scenario.digest())
    assert len(digests) == 1


def test_where_pictures_lie_does_not_change_the_digest(tmp_path: Path) -> None:
    digests = set()
    for folder in ("a", "b"):
        (tmp_path / folder / "mine").mkdir(parents=True)
        (tmp_path / folder / "s.yaml").write_text("data: {sets: [mine, {source: tanganke/dtd}]}\nmodel: {base: tiny-clip}\n")
        scenario = load_scenario(str(tmp_path / folder / "s.yaml"))
        assert [one.source for one in scenario.data.sets] == [str(tmp_path / folder / "mine"), "tanganke/dtd"]
        digests.add(scenario.digest())
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("text", "family"),
    [("microblog", "sent140"), ("forum", "reddit"), ("fiction", "fiction"), ("tofu", "tofu")],
)
def test_an_embedded_source_names_its_family(tmp_path: Path, text: str, family: str) -> None:
    assert load_scenario(write(tmp_path, f"data: {{source: {text}}}\n")).data.family == family


def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "tuning: {steps: 5}\nstrategies: [average, {sift_masks: {keep: 0.5}}]\n")
    overrides = ["tuning.steps=9", "data.clients=12", "strategies.1.sift_masks.keep=0.25", "seeds=[1,2]", "tuning.lr=1e-2"]
    scenario = load_scenario(path, overrides)
    assert (scenario.tuning.steps, scenario.data.clients, scenario.seeds, scenario.tuning.lr) == (9, 12, (1, 2), 0.01)
    assert scenario.strategies[1].parameters.model_dump()["keep"] == 0.25


def test_workers_kind_overrides_both_kinds_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "workers: {learn: flower, stream: ray, count: 3}\n")
    workers = load_scenario(path, ["workers.kind=inline"]).workers
    assert (workers.learn, workers.stream, workers.count) == ("inline", "inline", 3)


def test_the_default_stream_asks_a_quarter_of_the_clients() -> None:
    stream = Scenario.model_validate({"data": {"source": "fiction", "clients": 21}}).stream
    assert (stream.requests, stream.evaluate_after) == (5, (5,))


@pytest.mark.parametrize(
    ("text", "overrides", "messages"),
    [
        ("tuning:\n  step: 5\n", [], ["s.yaml, line 2: tuning.step: unknown key; did you mean 'steps'?", "betas"]),
        ("sede: [1]\n", [], ["line 1: sede: unknown key; did you mean 'seeds'?"]),
        ("data:\n  source: fiction\n  client: 3\n", [], ["line 3: data.client: unknown key; did you mean 'clients'?"]),
        ("model:\n  tiny:\n    layer: 3\n", [], ["line 3: model.tiny.layer: unknown key; did you mean 'layers'?"]),
        ("stream:\n  release:\n    evry: 3\n", [], ["line 3: stream.release.evry: unknown key; did you mean 'every'?"]),
        ("tuning: {steps: -1}\n", [], ["line 1: tuning.steps: Input should be greater than or equal to 1 (found -1)"]),
        ("data: {source: nowhere/at-all}\n", [], ["line 1: data: data needs a family (fiction, tofu, table, sent140, "]),
        ("data:\n  sets:\n  - {source: digits, conf: upright}\n", [], ["line 3: data.sets.0.conf: unknown key", "'config'"]),
        ("data: {sets: [{source: digits, caption: a digit}]}\n", [], ["data.sets.0.caption: a caption holds {label} once"]),
        ("data: {sets: [a/mnist, b/mnist]}\n", [], ["data: sets: two are called 'mnist'"]),
        ("data:\n  source: forum\n  partitioner: {name: natural}\n", [], ["line 3: data.partitioner.name: Input should be"]),
        ("data: {source: forum, partitioner: {name: sizes}}\n", [], ["sizes: a list of rows per client, with name: sizes"]),
        ("data: {source: microblog, validation: 1.5}\n", [], ["line 1: data.validation"]),
        ("model: {dtype: float16}\n", [], ["line 1: model.dtype: Input should be 'float32' or 'bfloat16'"]),
        ("model: {lora: {rang: 4}}\n", [], ["model.lora.rang: unknown key; did you mean 'rank'?"]),
        ("model: {tiny_clip: {pixels: 15}}\n", [], ["model.tiny_clip: patch (4) must divide pixels (15)"]),
        ("tuning: {micro_batch: 0}\n", [], ["line 1: tuning.micro_batch: Input should be greater"]),
        ("strategies: [averag]\n", [], ["line 1: strategies.0: there is no strategy 'averag'; there are zero_shot, label"]),
        ("strategies:\n - local\n - sift_masks: {keap: 1}\n", [], ["line 3: strategies.1: sift_masks.keap", "takes label"]),
        ("strategies: [{sift_masks: {keep: 2}}]\n", [], ["strategies.0: sift_masks.keep: Input should be less"]),
        ("strategies: [local, local]\n", [], ["local is there twice; give each its own label"]),
        ("stream: {requests: 41}\n", [], ["line 1: stream: stream.requests: 41 requests, but only 40 clients join"]),
        ("stream: {requests: 31, unseen: 10}\n", [], ["31 requests, but only 30 clients join; at most 30"]),
        ("stream: {join: 35, unseen: 6}\n", [], ["stream.join: 35 who join and 6 unseen make 41, but data.clients is 40"]),
        ("stream: {unseen: 40}\n", [], ["0 who join and 40 unseen make 40"]),
        ("stream: {join: 38, joins: 3}\n", [], ["line 1: stream: stream.joins: 3 newcomers, but 2 clients neither join"]),
        ("stream: {requests: 2, returns: 3}\n", [], ["stream.returns (3): together they can be stream.requests = 2"]),
        ("stream:\n  offline: {probabilty: 0.1}\n", [], ["line 2: stream.offline.probabilty: unknown key", "'probability'"]),
        ("stream:\n  offline: {calendar: {u1: [[9, 3]]}}\n", [], ["line 2", "u1: [9, 3] is no span of days"]),
        ("stream:\n  offline: {policy: never}\n", [], ["line 2: stream.offline.policy", "'wait' or 'rebuild'"]),
        ("stream:\n  requests: 10\n  release: {every: 4}\n  evaluate_after: [6]\n", [], ["after 6 requests", "since 4"]),
        ("seeds: [1, 1]\n", [], ["seeds: each seed once"]),
        ("seeds: [7, 4294967296]\n", [], ["line 1: seeds.1: Input should be less than 4294967296 (found 4294967296)"]),
        ("seeds: [-1]\n", [], ["line 1: seeds.0: Input should be greater than or equal to 0 (found -1)"]),
        ("model: {tiny: {seed: 18446744073709551616}}\n", [], ["line 1: model.tiny.seed: Input should be less than"]),
        ("model: {tiny_clip: {seed: 4294967296}}\n", [], ["line 1: model.tiny_clip.seed: Input should be less than"]),
        ("model: {resnet: {seed: -3}}\n", [], ["line 1: model.resnet.seed: Input should be greater than or equal to 0"]),
        ("model: {lora: {seed: 4294967296}}\n", [], ["line 1: model.lora.seed: Input should be less than"]),
        ("tuning: {steps: 1}\ntuning: {steps: 2}\n", [], ["line 2: the key 'tuning' is there twice"]),
        ("- a\n", [], ["a scenario is a mapping of sections"]),
        ("tuning: {steps: [\n", [], ["s.yaml: not a YAML file", "line"]),
        ("name: x\n", ["tuning.stepz=1"], ["--set tuning.stepz=1: tuning.stepz: unknown key; did you mean 'steps'?"]),
        ("name: x\n", ["tuning"], ["--set tuning: write key=value"]),
        ("name: x\n", ["name.y=1"], ["--set name.y=1: name is 'x', which has no keys"]),
        ("strategies: [local]\n", ["strategies.3=average"], ["strategies is a list of 1, from 0"]),
        ("name: x\n", ["data.source=tofu2"], ["--set data.source=tofu2: data: data needs a family"]),
        ("workers: {kind: ray, learn: ray}\n", [], ["line 1: workers: workers.kind sets learn and stream both"]),
        ("data: {source: fiction, prompt: '{question}'}\n", [], ["data.prompt: a prompt template names at least two"]),
        ("data: {family: table, source: t.csv, prompt: '{a}{b}'}\n", [], ["data: give either client_column or partitioner"]),
        ("stream: {order: {name: groups, weights: {DE: 2}}}\n", [], ["stream.order: groups needs data.group_column"]),
    ],
)  # fmt: skip
def test_mistakes_are_explained(tmp_path: Path, text: str, overrides: list[str], messages: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        load_scenario(write(tmp_path, text), overrides)
    for message in messages:
        assert message in str(caught.value)


TABLE = "family: table, source: t.csv, client_column: who"


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (f"{TABLE}, labels: [no, yes]", "data.labels: YAML reads no, off and false as one truth value; write in quotes"),
        (f"{TABLE}, labels: [1, 1.50]", "data.labels: YAML reads 1.5 as float; write in quotes what stands in the table"),
        (f"{TABLE}, labels: [2009-04-06]", "data.labels: YAML reads 2009-04-06 as date; write in quotes"),
        (f"{TABLE}, labels: [a, null]", "data.labels: YAML reads None as NoneType; write in quotes"),
        (f"{TABLE}, label_names: {{on: x}}", "data.label_names: YAML reads yes, on and true as one truth value"),
        (f"{TABLE}, label_names: {{0: off}}", "data.label_names: YAML reads no, off and false as one truth value"),
        ("source: forum, subreddits: [on, a]", "data.subreddits: YAML reads yes, on and true as one truth value"),
        ("family: stackoverflow, tags: [no, a]", "data.tags: YAML reads no, off and false as one truth value"),
        (f"{TABLE}, delimiter: '::'", "data.delimiter: one character, as ';' or '|', or tab (found '::')"),
        (f"{TABLE}, encoding: utf9", "data.encoding: no encoding that Python knows; take utf-8, utf-16"),
        (f"{TABLE}, columns: [a, b, a]", "data.columns: a name for each column of the file, in order, each once"),
        ("source: forum, prompt: '{a:.2f}{b}'", "data.prompt: not a template: in braces a prompt template has"),
    ],
)
def test_mistakes_in_what_is_said_of_tables(tmp_path: Path, section: str, message: str) -> None:
    prompt = "" if "prompt" in section else ", prompt: '{a}{b}'"
    with pytest.raises(InputError) as caught:
        load_scenario(write(tmp_path, f"data: {{{section}{prompt}}}\n"))
    assert f"s.yaml, line 1: {message}" in str(caught.value)


def test_what_stands_in_a_table_is_text_where_yaml_reads_whole_numbers(tmp_path: Path) -> None:
    data = "data: {family: table, source: t.csv, client_column: 3, prompt: '{1}{2}', label_names: {0: bad, 4: 5}, "
    found = load_scenario(write(tmp_path, data + "labels: [bad, 5], columns: [1, 2, 3], delimiter: \\t}\n")).data
    assert (found.client_column, found.label_names, found.labels) == ("3", {"0": "bad", "4": "5"}, ["bad", "5"])
    assert (found.columns, found.delimiter) == (("1", "2", "3"), "\t")
    assert load_scenario(write(tmp_path, "data: {source: forum, subreddits: [1, 2]}\n")).data.subreddits == ["1", "2"]
    assert load_scenario(write(tmp_path, "data: {source: forum, subreddits: 2}\n")).data.subreddits == 2


def test_the_largest_seed_is_one_that_every_library_takes(tmp_path: Path) -> None:
    import numpy as np
    from sklearn.utils import check_random_state

    (largest,) = load_scenario(write(tmp_path, f"seeds: [{2**32 - 1}]\n")).seeds
    check_random_state(largest)
    np.random.RandomState(largest)
    with pytest.raises(ValueError, match="Seed must be between 0 and 2"):
        np.random.RandomState(largest + 1)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load_scenario(write(tmp_path, "tuning: {steps: 0}\nseeds: []\nmodel: {max_length: 1}\n"))
    assert [line.split(":")[1].strip() for line in str(caught.value).splitlines()] == [
        "seeds",
        "model.max_length",
        "tuning.steps",
    ]


def test_a_scenario_that_is_not_there() -> None:
    with pytest.raises(
        InputError, match="there is no scenario file nope; the ones that come with unmerge are cifar10, clip_i, "
    ):
        load_scenario("nope")
