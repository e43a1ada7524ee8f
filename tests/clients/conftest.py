"""Facts from a fresh process with another hash seed, thread count and cache, to compare this process with."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from clients.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import hashlib, json, sys
from clients.exact import bits, digest, exact_sum
from clients.work import tuning
from clients.data import loaders as data
from clients.work.rules import RULES
from clients.work.site import open_site
from clients.models import tiny_gpt2
from clients.settings import Settings, TuningSpec

settings = Settings.model_validate_json(sys.argv[1])
site = open_site(settings)
shard = site.shard("u3")
folder = tiny_gpt2.folder_of(settings.model.tiny, site.manifest.public)
facts = {"cache": str(folder), "base": site.model.digest}
for kind in ("plain", "sign_fixed"):
    for batch in ("full", 2):
        signs = RULES[kind].signs(11, site.model.layout.size)
        tuned = tuning.tune(site.model, shard, kind, TuningSpec(steps=4, batch=batch), 11, signs)
        facts[f"{kind}/{batch}"] = [digest.of_array(tuned.vector), tuned.recipe]
for name in ("model.safetensors", "tokenizer.json"):
    facts[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
facts["shards"] = [s.digest() for s in data.load(settings.data, 7).shards]
facts["signs"] = digest.of_array(bits.sign_vector(123, 1001))
print("FACTS" + json.dumps(facts))
"""


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Models this small only lose by more threads; tuning and scoring set their own number."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def elsewhere(tiny_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a fresh process makes of ``tiny_settings``, with an empty cache, a hash seed and a number of threads of its own:
    this one has another seed, and one thread."""
    environment = os.environ | {
        "UNMERGE_CACHE": str(tmp_path_factory.mktemp("elsewhere")),
        "PYTHONPATH": str(ROOT),
        "PYTHONHASHSEED": "1",
        "OMP_NUM_THREADS": "2",
    }
    command = [sys.executable, "-c", SCRIPT, tiny_settings.model_dump_json()]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.split("FACTS")[1]))


@pytest.fixture
def write_lines(tmp_path: Path) -> Callable[[str, list[dict[str, Any]]], Path]:
    """Writes rows as a JSONL file."""

    def write(name: str, rows: list[dict[str, Any]]) -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write
