"""Peak memory and seconds of one tuning step of a GPT-2 with 124 M parameters (random weights), by what saves memory.

Each way runs in a process of its own, of which the peak resident memory is taken. Run by hand: it takes a few minutes.

    python tests/benchmarks/bench_memory.py
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from clients.data.dataset import Dataset, Example, Shard
from clients.exact.bits import sign_vector
from clients.models.loaders import load
from clients.models.tiny_gpt2 import train_tokenizer
from clients.settings import ModelSpec, TuningSpec
from clients.work.tuning import tune

EXAMPLES, WORDS = 8, 120
WAYS: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "model opened, nothing tuned": ({}, {"steps": 0}),
    "one step": ({}, {}),
    "micro_batch 1": ({}, {"micro_batch": 1}),
    "gradient_checkpointing": ({"gradient_checkpointing": True}, {}),
    "both": ({"gradient_checkpointing": True}, {"micro_batch": 1}),
    "both, LoRA": ({"gradient_checkpointing": True, "lora": {"rank": 8}}, {"micro_batch": 1}),
}


def make(folder: Path) -> None:
    """A GPT-2 of the original's size with a small tokenizer."""
    from transformers import GPT2Config, GPT2LMHeadModel

    train_tokenizer(300, ["word"]).save_pretrained(folder)
    GPT2LMHeadModel(GPT2Config()).save_pretrained(folder)


def measure(folder: str, way: str) -> dict[str, float]:
    """Seconds and peak GiB of one way, in this process."""
    model_options, tuning_options = WAYS[way]
    steps = tuning_options.pop("steps", 1)
    shard = Shard("u", tuple(Example("word " * WORDS, "word") for _ in range(EXAMPLES)))
    model = load(ModelSpec.model_validate({"base": folder, **model_options}), Dataset((shard,), ()).manifest, "cpu")
    started = time.perf_counter()
    if steps:
        spec = TuningSpec.model_validate({"steps": 1, **tuning_options})
        tune(model, shard, "sign_fixed", spec, 7, sign_vector(7, model.layout.size))
    seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "parameters": model.layout.size,
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder))
        for way in WAYS:
            command = [sys.executable, __file__, folder, way]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            print(
                f"{way:<30}{found['parameters']:>12,} tuned  {found['gib']:6.2f} GiB  {found['seconds']:6.1f} s", flush=True
            )


if __name__ == "__main__":
    print(json.dumps(measure(*sys.argv[1:]))) if len(sys.argv) > 1 else main()
