"""The example notebook, cell by cell, in a folder of its own."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK: dict[str, Any] = json.loads((ROOT / "docs" / "python.ipynb").read_text(encoding="utf-8"))
CELLS = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def shown(cell: str, names: dict[str, Any]) -> Any:
    """Run a cell; the value of its last line, as a notebook shows it, None where that is a statement."""
    tree = ast.parse(cell)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<cell>", "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)


def test_every_cell_runs_and_shows_what_the_text_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    found = {cell: shown(cell, names) for cell in CELLS}
    (same,) = [value for cell, value in found.items() if "torch.equal" in cell]
    assert same is True
    assert names["findings"].equal.all()
    assert names["run"].summary["requests"] == 3
    (costs,) = [value for cell, value in found.items() if "unmerge.forget" in cell]
    assert dict(costs.gradient_steps) == {"zero_shot": 0, "local": 0, "average": 6, "sift_masks": 6}  # 3 steps, two seeds
    assert found[CELLS[2]]["average"] == {"learn": 18, "forget": 6}
    (kind, shape) = next(value for cell, value in found.items() if "type(model)" in cell)
    assert (kind, shape[:2]) == ("GPT2LMHeadModel", (1, 3))


def test_outputs_are_stripped() -> None:
    code = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
