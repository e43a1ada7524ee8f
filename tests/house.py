"""What import-linter cannot see of the house; run by ``make lint``.

The simulator never asks which strategy it has before it. So in ``sim/`` there is

    no ``isinstance``, ``issubclass``, ``type(...)`` or class pattern on a strategy or anything that ``strategies`` defines
    no comparison of a strategy's ``deletion``, of its class or of its class's name
    no strategy's name and no strategy class's name as a text of its own, but where NAMES says what else it means

Prints each breach with file and line, and exits with 1 if there is one.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from strategies.registry import REGISTRY

ROOT = Path(__file__).resolve().parents[1]
NAMES = {("sim/workers/ray.py", "local"): "Ray's word for a cluster that is started here"}
KNOWN = {*REGISTRY, *(strategy.__name__ for strategy in REGISTRY.values())}
KINDS = ("isinstance", "issubclass", "type")


def breaches(path: Path, source: str) -> Iterator[str]:
    """What is wrong in one file of the simulator, a line each."""
    tree = ast.parse(source)
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "strategies"
        for alias in node.names
    }
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)}
    where = path.relative_to(ROOT).as_posix()
    for node in ast.walk(tree):
        if found := _breach(node, imported, docs, where):
            yield f"{where}:{getattr(node, 'lineno', 0)}: {found}"


def _breach(node: ast.AST, imported: set[str], docs: set[int], where: str) -> str | None:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in KINDS and node.args:
        names = {each.id for argument in node.args for each in ast.walk(argument) if isinstance(each, ast.Name)}
        names |= {each.attr for argument in node.args for each in ast.walk(argument) if isinstance(each, ast.Attribute)}
        if any("strateg" in name.lower() for name in names) or names & imported:
            return f"asks {node.func.id} of a strategy, or of something that strategies define"
    if isinstance(node, ast.MatchClass) and isinstance(node.cls, ast.Name) and node.cls.id in imported:
        return f"matches the class {node.cls.id}"
    if isinstance(node, ast.Compare):
        attributes = {
            each.attr
            for side in (node.left, *node.comparators)
            for each in ast.walk(side)
            if isinstance(each, ast.Attribute)
        }
        if told := attributes & {"deletion", "__class__", "__name__"}:
            return f"compares {', '.join(sorted(told))}"
    if (
        isinstance(node, ast.Constant)
        and id(node) not in docs
        and node.value in KNOWN - {name for at, name in NAMES if at == where}
    ):
        return f"names the strategy {node.value!r}"
    return None


def main() -> int:
    found = [breach for path in sorted((ROOT / "sim").rglob("*.py")) for breach in breaches(path, path.read_text())]
    for breach in found:
        print(breach)
    print(f"the simulator asks no strategy who it is: {'BROKEN' if found else 'KEPT'}")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
