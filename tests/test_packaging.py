"""The wheel works outside the checkout, in an environment that knows nothing of it."""

import os
import shutil
import site
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


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
    } <= names
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
    command = [str(tmp_path / "venv" / "bin" / "unmerge"), "run", "table", "--out", "run"]
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
    where = "import clients, sim, strategies; print(clients.__file__, sim.__file__, strategies.__file__)"
    asked = [str(python), "-c", where]
    found = subprocess.run(asked, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    assert all(Path(path).is_relative_to(packages) for path in found.split())
