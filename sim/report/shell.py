# ruff: noqa: E501
"""What all pages have: style in light and dark, a script that sorts and filters tables, parts of a page as jinja2 macros.

In a module, because `flwr run .` copies an app's Python files but not others. A page reads nothing else: its policy allows
its own style and this one script, and no network. Without the script it is complete; controls appear where it runs.
"""

import base64
import hashlib
import shlex
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined

from sim.report.style import PALETTE
from sim.terminal import human_bytes

SCRIPT = r"""(() => {
  "use strict";
  const key = (row, column) => {
    const cell = row.cells[column];
    const text = cell.dataset.value ?? cell.textContent.trim();
    const plain = text.replaceAll(",", "");
    if (text === "" || text === "–") return null;
    if (cell.dataset.value !== undefined) return Number.isNaN(Number(plain)) ? text : Number(plain);
    return cell.classList.contains("number") && !Number.isNaN(parseFloat(plain)) ? parseFloat(plain) : text;
  };
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    const first = [...body.rows];
    const headings = [...table.tHead.rows[0].cells];
    const sort = (heading, column) => {
      const direction = { ascending: "descending", descending: null }[heading.getAttribute("aria-sort")];
      const next = direction === undefined ? "ascending" : direction;
      for (const other of headings) other.removeAttribute("aria-sort");
      let rows = first;
      if (next) {
        heading.setAttribute("aria-sort", next);
        const sign = next === "ascending" ? 1 : -1;
        const keyed = first.map((row) => [key(row, column), row]);
        const known = keyed.filter(([value]) => value !== null).sort(([a], [b]) => sign * compare(a, b));
        rows = [...known, ...keyed.filter(([value]) => value === null)].map(([, row]) => row);
      }
      body.append(...rows);
    };
    headings.forEach((heading, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.title = "sort by this column";
      button.append(...heading.childNodes);
      button.addEventListener("click", () => sort(heading, column));
      heading.append(button);
    });
  }
  for (const bar of document.querySelectorAll(".filters")) {
    const rows = [...document.getElementById(bar.dataset.table).tBodies[0].rows];
    const search = bar.querySelector("input");
    const choices = [...bar.querySelectorAll("select")];
    const told = bar.querySelector("output");
    const filter = () => {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        const chosen = choices.every((each) => each.value === "" || row.cells[each.dataset.column].textContent.trim() === each.value);
        row.hidden = !(chosen && words.every((word) => text.includes(word)));
      }
      told.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
    };
    bar.hidden = false;
    for (const control of [search, ...choices]) control.addEventListener("input", filter);
    filter();
  }
})();
"""

STYLE = r""":root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1c2126; --soft: #5a646e; --grid: #d9dee3; --shade: #f4f6f8; --good: #0b6b4b; --bad: #b3261e;
  {% for light, dark in palette %}--series-{{ loop.index0 }}: {{ light }}; {% endfor %}

}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --paper: #14181c; --ink: #e6e9ec; --soft: #a2acb6; --grid: #363d45; --shade: #1d2329; --good: #5fd0a5; --bad: #ff8f85;
    {% for light, dark in palette %}--series-{{ loop.index0 }}: {{ dark }}; {% endfor %}

  }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1340px; padding: 28px 32px 64px; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif; }
header { border-bottom: 2px solid var(--ink); margin-bottom: 20px; padding-bottom: 12px; }
header p { margin: 4px 0 0; }
.kicker { color: var(--soft); font-size: 13px; letter-spacing: .04em; text-transform: uppercase; }
h1 { font-size: 30px; line-height: 1.2; margin: 2px 0 6px; overflow-wrap: anywhere; }
h2 { font-size: 20px; margin: 40px 0 8px; }
h3 { font-size: 15px; margin: 20px 0 6px; overflow-wrap: anywhere; }
.note, figcaption, caption { color: var(--soft); font-size: 13.5px; }
.alert { border: 2px solid var(--bad); color: var(--bad); font-weight: 600; padding: 8px 12px; }
.scroll { overflow-x: auto; }
.scroll:focus-visible, .plot:focus-visible, button.sort:focus-visible { outline: 2px solid var(--series-0); outline-offset: 2px; }
ul.words { font-size: 17px; line-height: 1.5; margin: 6px 0 10px; padding-left: 22px; }
.made { display: block; margin-top: 2px; }
button.sort { all: unset; box-sizing: border-box; cursor: pointer; font: inherit; white-space: inherit; text-decoration: underline dotted var(--soft); text-underline-offset: 3px; text-align: inherit; width: 100%; }
button.sort:hover, [aria-sort] > button.sort { text-decoration: underline; text-underline-offset: 3px; }
button.sort::after { content: ""; position: absolute; }
[aria-sort="ascending"] > button.sort::after { content: "\2191"; }
[aria-sort="descending"] > button.sort::after { content: "\2193"; }
.filters { display: flex; flex-wrap: wrap; gap: 6px 18px; align-items: center; margin: 10px 0; font-size: 13.5px; }
.filters[hidden] { display: none; }
.filters input, .filters select { font: inherit; color: inherit; background: var(--paper); border: 1px solid var(--soft); border-radius: 4px; padding: 3px 6px; max-width: 220px; }
details { margin: 10px 0; } summary { cursor: pointer; font-weight: 600; overflow-wrap: anywhere; }
a { color: inherit; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; }
th, td { padding: 6px 9px; text-align: left; vertical-align: baseline; border-bottom: 1px solid var(--grid); }
thead th { border-bottom: 2px solid var(--ink); vertical-align: bottom; white-space: pre-line; font-weight: 600; }
tbody th { font-weight: 600; min-width: 168px; overflow-wrap: anywhere; }
tbody tr:nth-child(even of :not([hidden])) { background: var(--shade); }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
th.pair, td.pair { text-align: left; }
td.pair { white-space: normal; }
thead th.number { white-space: pre; }
.mark { display: inline-block; padding-left: .25em; text-align: left; }
.equal { color: var(--good); font-weight: 600; white-space: nowrap; }
.DIFFERENT { white-space: nowrap; color: var(--bad); font-weight: 700; outline: 2px solid; outline-offset: -3px; }
figure { margin: 12px 0 28px; }
.plot { overflow-x: auto; }
.plot svg { display: block; width: 100%; min-width: 760px; height: auto; overflow: visible; }
figure svg text { font-family: "DejaVu Sans", Verdana, system-ui, sans-serif !important; }
dl { margin: 0; display: grid; grid-template-columns: minmax(110px, max-content) 1fr; column-gap: 20px; row-gap: 4px; }
dl.words { row-gap: 8px; max-width: 105ch; }
dt { font-weight: 600; }
dd { margin: 0; overflow-wrap: anywhere; }
code { font: 12.5px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
.proofs td, .proofs th { font-size: 13px; }
.proofs td code { display: block; }
@media screen and (max-width: 640px) {
  body { padding: 16px 14px 40px; }
  h1 { font-size: 24px; } ul.words { font-size: 15.5px; padding-left: 18px; }
  dl { grid-template-columns: 1fr; row-gap: 0; } dd { margin-bottom: 8px; }
  tbody th:first-child { position: sticky; left: 0; background: var(--paper); min-width: 116px; max-width: 150px; box-shadow: inset 0 -1px var(--grid); }
  td.pair { white-space: nowrap; }
  tbody tr:nth-child(even of :not([hidden])) th:first-child { background: var(--shade); }
}
@page { size: A4 landscape; margin: 12mm; }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  table, .proofs td, .proofs th { font-size: 8pt; } code { font-size: 7.5pt; }
  th, td { padding: 3px 6px; }
  .scroll, .plot { overflow: visible; } .filters { display: none; } button.sort::after { content: none; }
  .plot svg { min-width: 0; }
  figure, tr, dt, dd, dl:not(.words) { break-inside: avoid; } h2, h3 { break-after: avoid; }
  figure svg { max-height: 165mm; }
}
"""

PARTS = r"""{% macro said(lines) %}
<ul class="words">
{% for line in lines %}
<li>{{ line | replace(" %", "\u00a0%") }}</li>
{% endfor %}
</ul>
{% endmacro %}
{% macro computed(more) %}
<p class="note">Computed from the table below: recovered is the share of the way in held-in accuracy from what nobody tuned to what each client tunes alone.{{ more }}</p>
{% endmacro %}
{% macro name_of(label) %}{{ label.split("/") | join("/<wbr>" | safe) }}{% endmacro %}
{% macro figure(svg, name, command, about) %}
<figure role="group" aria-label="{{ about }}">
<div class="plot" role="region" tabindex="0" aria-label="{{ about }}">{{ svg | safe }}</div>
<figcaption>{{ caller() }} <span class="made"><code>figures/{{ name }}.svg</code>, <code>figures/{{ name }}.png</code>, made by <code>{{ command }}</code></span></figcaption>
</figure>
{% endmacro %}
{% macro filters(table, choices) %}
<div class="filters" data-table="{{ table }}" role="search" aria-label="Filter the table" hidden>
<label>Find <input type="search" autocomplete="off"></label>
{% for heading, (column, values) in choices.items() %}
<label>{{ heading }} <select data-column="{{ column }}"><option value="">all</option>{% for value in values %}<option>{{ value }}</option>{% endfor %}</select></label>
{% endfor %}
<output role="status"></output>
</div>
{% endmacro %}
{% macro numbers(columns, rows, about) %}
<div class="scroll" role="region" tabindex="0" aria-label="{{ about }}">
<table class="sortable">
<thead><tr>{% for key, heading in columns.items() %}<th scope="col"{% if key != "strategy" %} class="number"{% endif %}>{{ heading }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in rows %}
<tr>{% for key, cell in row.items() %}{% if key == "strategy" %}<th scope="row">{{ name_of(cell) }}</th>{% else %}<td class="number">{{ cell }}</td>{% endif %}{% endfor %}</tr>
{% endfor %}
</tbody>
</table>
</div>
{% endmacro %}
"""

FRAME = r"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src '{{ script_digest }}'">
<title>{% block title %}{% endblock %} · Unmerge report</title>
<style>
{% include "style" %}
</style>
</head>
<body>
{% block body %}{% endblock %}
<script>{{ script | safe }}</script>
</body>
</html>
"""


def rendered(page: str, **values: Any) -> str:
    """A page from its template, which extends ``frame``."""
    loader = DictLoader({"frame": FRAME, "style": STYLE, "parts": PARTS, "page": page})
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters["bytes"] = human_bytes
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    made.globals |= {"palette": PALETTE, "script": SCRIPT, "script_digest": f"sha256-{digest}"}
    return made.get_template("page").render(**values)


def command(what: str, *folders: str) -> str:
    """The command that is to be typed in the folder where these folders are."""
    return shlex.join(["unmerge", what, *folders])
