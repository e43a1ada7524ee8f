"""The script of a page, as a browser runs it: tables are sorted by their headings and filtered by words and choices."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sim.report.shell import rendered

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium here")

PAGE = """{% extends "frame" %}
{% from "parts" import filters %}
{% block title %}t{% endblock %}
{% block body %}
{{ filters("all", {"Exact": (1, ["yes", "no"])}) }}
<table class="sortable" id="all">
<thead><tr><th>strategy</th><th>exact?</th><th class="number">storage</th><th class="number">late</th></tr></thead>
<tbody>
<tr><th>b10</th><td>yes</td><td class="number" data-value="2000">2 kB</td><td class="number">1,200 %</td></tr>
<tr><th>b9</th><td>no</td><td class="number" data-value="30">30 B</td><td class="number">–</td></tr>
<tr><th>a</th><td>yes</td><td class="number" data-value="">–</td><td class="number">9 %</td></tr>
</tbody></table>
{% endblock %}"""

STEPS = """
const shown = () => [...document.querySelectorAll("#all tbody tr")].filter((row) => !row.hidden);
const rows = () => shown().map((row) => row.cells[0].textContent);
const sorts = () => [...document.querySelectorAll("#all thead th")].map((h) => h.getAttribute("aria-sort"));
const told = {bar: document.querySelector(".filters").hidden, buttons: document.querySelectorAll("th > button").length};
const click = (n) => document.querySelectorAll("#all thead button")[n].click();
const set = (control, value) => { control.value = value; control.dispatchEvent(new Event("input")); };
const say = (name) => { told[name] = [rows().join(" "), sorts(), document.querySelector("output").textContent]; };
say("first");
click(0); say("name up"); click(0); say("name down"); click(0); say("name off");
click(2); say("bytes up"); click(2); say("bytes down"); click(3); say("late up");
set(document.querySelector("select"), "yes"); say("exact");
set(document.querySelector("input"), "B10 1,2"); say("words");
set(document.querySelector("input"), "nobody"); say("none");
document.title = JSON.stringify(told);
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("browser")
    page = rendered(PAGE)
    blocked = page.replace("</body>", f"<script>{STEPS}</script></body>")
    found = title(folder, blocked)
    assert found == "t · Unmerge report"  # the page's policy lets no other script run
    return json.loads(title(folder, re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", blocked)))


def title(folder: Path, page: str) -> str:
    (folder / "page.html").write_text(page, encoding="utf-8")
    command = [
        str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}", "--dump-dom",
        (folder / "page.html").as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    (found,) = re.findall(r"<title>(.*?)</title>", done.stdout)
    return html.unescape(found)


def test_headings_become_buttons_and_the_bar_appears(told: Any) -> None:
    assert (told["bar"], told["buttons"]) == (False, 4)
    assert "hidden>" in rendered(PAGE)  # without the script it does not


@pytest.mark.parametrize(
    ("step", "rows", "column", "direction"),
    [
        ("first", "b10 b9 a", 0, None),
        ("name up", "a b9 b10", 0, "ascending"),  # 9 before 10
        ("name down", "b10 b9 a", 0, "descending"),
        ("name off", "b10 b9 a", 0, None),
        ("bytes up", "b9 b10 a", 2, "ascending"),  # by bytes and not by text; without a value last
        ("bytes down", "b10 b9 a", 2, "descending"),
        ("late up", "a b10 b9", 3, "ascending"),  # a thousand has a comma
    ],
)
def test_a_click_sorts(told: Any, step: str, rows: str, column: int, direction: str | None) -> None:
    shown, sorts, _ = told[step]
    assert shown == rows
    assert sorts == [direction if i == column else None for i in range(4)]


@pytest.mark.parametrize(
    ("step", "rows", "count"),
    [
        ("first", "b10 b9 a", "3 of 3 rows"),
        ("exact", "a b10", "2 of 3 rows"),
        ("words", "b10", "1 of 3 rows"),
        ("none", "", "0 of 3 rows"),
    ],
)
def test_words_and_choices_filter(told: Any, step: str, rows: str, count: str) -> None:
    shown, _, said = told[step]
    assert (shown, said) == (rows, count)
