"""The README and the pages of docs/: short enough, with links that lead somewhere and commands that there are."""

import re
import shlex
from pathlib import Path
from urllib.parse import unquote

import pytest
import typer.main

from sim.cli import app

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def slug(heading: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    return {slug(line.lstrip("#")) for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("#")}


def commands(page: Path) -> list[list[str]]:
    """The calls of ``unmerge`` in indented blocks, each as words; continued lines are one, comments are left out."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = [line for line in text.splitlines() if line.startswith("    ")]
    calls = [call.strip() for line in blocks for call in re.split(r"[;|]\s+(?=unmerge )", line.split(" # ")[0])]
    return [shlex.split(call) for call in calls if call.startswith("unmerge ")]


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_those_there_are(page: Path) -> None:
    """Each call names a command, and options that it takes."""
    for call in commands(page):
        name = call[1].split("|")[0]
        if name.startswith("-"):
            continue
        assert name in COMMANDS, call
        known = {option for parameter in COMMANDS[name].params for option in parameter.opts} | {"--help"}
        asked = {word.lstrip("[").split("=")[0] for word in call[2:] if re.match(r"\[?--\w", word)}
        assert asked <= known, (call, asked - known)


def test_every_page_is_in_the_index() -> None:
    listed = set(LINK.findall((ROOT / "docs" / "README.md").read_text(encoding="utf-8")))
    assert {page.name for page in PAGES[1:]} - {"README.md"} <= listed
