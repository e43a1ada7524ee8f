"""The model card of an exported model, in the hub's format: YAML front matter, then Markdown.

It names no client, neither one who was deleted nor the one whose model it is.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from clients.settings import EMBEDDED_BASES
from sim.export.serving import Serving
from sim.life.record import PHASES
from sim.terminal import human_bytes


def card(serving: Serving, one_client: bool, files: Mapping[str, str]) -> str:
    """README.md of an exported model.

    Args:
        one_client: whether it is one client's model, and not what anybody is served.
        files: SHA-256 of each file of weights, by its name.
    """
    front = yaml.safe_dump(_front(serving), sort_keys=False, allow_unicode=True)
    whose = "one client" if one_client else "anybody"
    parts = [
        f"---\n{front}---\n",
        f"# {serving.label}, as served to {whose}\n",
        f"Exported by Unmerge: what the strategy `{serving.label}` serves to {whose} after the last release of a run.\n",
        "## How to open it\n",
        _opening(serving),
        "## Exactness\n",
        _exactness(serving),
        "## Price\n",
        _price(serving),
        "## Recipe\n",
        f"```yaml\n{yaml.safe_dump(_recipe(serving), sort_keys=False, allow_unicode=True)}```\n",
        "## Digests\n",
        _table(("what", "SHA-256"), [*_digests(serving).items(), *((f"`{name}`", bits) for name, bits in files.items())]),
    ]
    return "\n".join(parts)


def _front(serving: Serving) -> dict[str, Any]:
    spec, found = serving.model, dict[str, Any]()
    if spec.base not in EMBEDDED_BASES and not Path(serving.where).is_dir():
        found["base_model"] = spec.base  # the hub links it, so it has to be there
    if (told := license_of(serving.where)) is not None:
        found["license"] = told
    found["library_name"] = "transformers" if spec.lora is None else "peft"
    adapter = ["lora"] if spec.lora is not None else []
    return found | {"tags": ["unmerge", "machine-unlearning", "model-merging", *adapter]}


def license_of(where: str) -> str | None:
    """The license that the base model's own card states; None if it is not here or states none."""
    from huggingface_hub import try_to_load_from_cache

    path = Path(where) / "README.md" if Path(where).is_dir() else try_to_load_from_cache(where, "README.md")
    try:
        text = Path(str(path)).read_text(encoding="utf-8")
        told = yaml.safe_load(text.split("---\n")[1]) if text.startswith("---\n") else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, IndexError):
        return None
    found = told.get("license") if isinstance(told, dict) else None
    return found if isinstance(found, str) else None


def _opening(serving: Serving) -> str:
    library, spec = serving.library, serving.model
    lines = [f"from transformers import {library.auto}", ""]
    dtype = ", dtype=torch.bfloat16" if spec.lora is not None and spec.dtype == "bfloat16" else ""
    if dtype:
        lines.insert(0, "import torch")
    if spec.lora is None:
        lines += [f'model = {library.auto}.from_pretrained("FOLDER")']
    else:
        base = "FOLDER/base" if spec.base in EMBEDDED_BASES else "BASE" if Path(serving.where).is_dir() else spec.base
        classes = f", num_labels={library.module.config.num_labels}, ignore_mismatched_sizes=True" if library.heads else ""
        lines.insert(0, "from peft import PeftModel")
        lines += [
            f'base = {library.auto}.from_pretrained("{base}"{classes}{dtype})',
            'model = PeftModel.from_pretrained(base, "FOLDER")',
        ]
    told = "```python\n" + "\n".join(lines) + "\n```\n"
    if spec.dtype == "bfloat16":
        told += "\nThe run computed in bfloat16, by autocast; tuned weights are float32.\n"
    return told


def _exactness(serving: Serving) -> str:
    strategy, record = serving.life.system.strategies[serving.label], serving.life.record
    deleted, left = record["deleted"], len(serving.life.present)
    told = f"Deletions carried out: {deleted}. Clients left: {left}. Nobody is named here.\n\n"
    if strategy.exactness != "exact":
        return told + "Deletion is **approximate**: the model follows from having met those who were deleted.\n"
    rebuilt = record["rebuilt_digest"][serving.label]
    told += "Deletion is **exact**: the state is, bit for bit, the one that the clients who are left alone would have made. "
    if rebuilt is None:
        return told + "This run did not rebuild it to check.\n"
    same = rebuilt == record["state_digest"][serving.label]
    return told + f"It was rebuilt without those who were deleted, and was {'equal' if same else 'NOT equal'}.\n"


def _price(serving: Serving) -> str:
    record = serving.life.record
    rows = []
    for phase in PHASES:
        cost = record[phase][serving.label]
        sent = human_bytes(cost["bytes_up"] + cost["bytes_down"])
        rows.append((phase, f"{cost['gradient_steps']:,}", f"{cost['client_tunings']:,}", f"{cost['seconds']:.1f} s", sent))
    kept = human_bytes(record["storage_bytes"][serving.label])
    heads = ("phase", "gradient steps", "clients tuned", "client work", "bytes sent")
    return _table(heads, rows) + f"\nThe server keeps {kept} for it, without the base model.\n"


def _recipe(serving: Serving) -> dict[str, Any]:
    scenario, system = serving.life.system.scenario, serving.life.system
    spec = next(spec for spec in scenario.strategies if spec.label == serving.label)
    model = scenario.model.model_dump(mode="json", include={"base", "tune", "head", "dtype", "lora", "max_length"})
    if Path(serving.where).is_dir() and model["base"] not in EMBEDDED_BASES:
        model["base"] = Path(serving.where).name
    return {
        "strategy": spec.model_dump(mode="json"),
        "chosen": serving.life.record["chosen"][serving.label],
        "rule": system.strategies[serving.label].rule,
        "seed": system.seed,
        "model": model,
        "tuning": scenario.tuning.model_dump(mode="json"),
        "data": scenario.data.family,
    }


def _digests(serving: Serving) -> dict[str, str]:
    life = serving.life
    return {
        "base model": serving.site.model.digest,
        "scenario": life.system.scenario.digest(),
        "state of the strategy": life.record["state_digest"][serving.label],
        "last line of the ledger": life.ledger.head,
    }


def _table(heads: tuple[str, ...], rows: Any) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
