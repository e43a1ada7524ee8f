"""The wheel works outside the checkout, in an environment that knows nothing of it."""

import json
import os
import re
import shutil
import site
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("unmerge", "clients", "strategies", "sim", "scenarios")


def test_the_wheel_runs_a_packaged_scenario_from_anywhere(cache: Path, tmp_path: Path) -> None:
    """Dependencies come from this environment by path alone, so that its editable install of the checkout is not seen."""
    source = tmp_path / "source"  # building leaves folders behind
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "runs", "build", "dist", "*.egg-info"))
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(source)],
        check=True,
        capture_output=True,
        timeout=200,
    )
    (wheel,) = (tmp_path / "dist").glob("unmerge-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "scenarios/quickstart.yaml",
        "scenarios/studies/folds.yaml",
        "scenarios/papers/clamu_figure2.yaml",
        "scenarios/helpdesk.jsonl",
        "sim/report/page.py",
        "clients/app.py",
        "unmerge/__init__.py",
        *(f"{package}/py.typed" for package in PACKAGES),
    } <= names
    about = zipfile.ZipFile(wheel).read(next(name for name in names if name.endswith("METADATA"))).decode()
    extras = set(re.findall(r"^Provides-Extra: (.*)$", about, re.MULTILINE))
    assert extras == {"dev", "tracking", "tensorboard", "mlflow", "wandb", "trackio"}
    assert not [name for name in names if name.startswith("tests")]

    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"UNMERGE_CACHE": str(cache)}
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    (packages,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index", str(wheel)],
        check=True,
        timeout=200,
        env=environment,
    )
    command = [str(tmp_path / "venv" / "bin" / "unmerge"), "run", "table", "--out", "run", "--format", "json"]
    for override in (
        "tuning.steps=1",
        "model.tiny={layers: 1, width: 16, heads: 2, vocabulary: 300, steps: 2, batch: 4}",
        "strategies=[average]",
        "stream={requests: 1}",
        "workers={kind: inline}",
        "report.html=true",
    ):
        command += ["--set", override]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "report.html").exists()
    told = json.loads(done.stdout)  # nothing else is there, whoever prints
    assert told["strategies"]["average"]["bitwise_equal"] is True
    where = (
        "import clients, sim, strategies, unmerge\n"
        "print(clients.__file__, sim.__file__, strategies.__file__, unmerge.__file__)\n"
        "assert unmerge.Run('run').served('average').config.n_embd == 16"
    )
    asked = [str(python), "-c", where]
    found = subprocess.run(asked, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    assert all(Path(path).is_relative_to(packages) for path in found.split())


def test_the_image_is_made_of_what_is_let_in_and_plays_the_demo() -> None:
    """It is not built here; but each file that it copies is there and let in, and so is every package."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copied = {name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]}
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert copied == {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert all((ROOT / name).exists() for name in copied)
    assert set(PACKAGES) <= copied
    assert lines[-1] == 'CMD ["unmerge", "run", "quickstart"]'
    user = lines.index("USER unmerge")
    assert not [line for line in lines[user:] if "pip install" in line]
