# ruff: noqa: E501
"""The report's page as a jinja2 template.

In a module, because `flwr run .` copies an app's Python files but not a template's.
"""

PAGE = r"""{% set title = runs.values() | map(attribute="name") | unique | join(", ") %}
{% macro name_of(label) %}{{ label.split("/") | join("/<wbr>" | safe) }}{% endmacro %}
{% macro numbers(columns, rows) %}
<div class="scroll">
<table>
<thead><tr>{% for key, heading in columns.items() %}<th scope="col"{% if key != "strategy" %} class="number"{% endif %}>{{ heading }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in rows %}
<tr>{% for key, cell in row.items() %}{% if key == "strategy" %}<th scope="row">{{ name_of(cell) }}</th>{% else %}<td class="number">{{ cell }}</td>{% endif %}{% endfor %}</tr>
{% endfor %}
</tbody>
</table>
</div>
{% endmacro %}
{% set comparing = runs | length > 1 %}
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }} · Unmerge report</title>
<style>
:root {
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
body { margin: 0 auto; max-width: 1240px; padding: 28px 32px 64px; background: var(--paper); color: var(--ink);
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
table { border-collapse: collapse; width: 100%; font-size: 13.5px; }
th, td { padding: 6px 10px; text-align: left; vertical-align: baseline; border-bottom: 1px solid var(--grid); }
thead th { border-bottom: 2px solid var(--ink); vertical-align: bottom; white-space: pre-line; font-weight: 600; }
tbody th { font-weight: 600; min-width: 152px; overflow-wrap: anywhere; }
tbody tr:nth-child(even) { background: var(--shade); }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
th.pair, td.pair { text-align: left; }
td.pair { white-space: normal; }
thead th.number { white-space: pre; }
.mark { display: inline-block; padding-left: .25em; text-align: left; }
.equal { color: var(--good); font-weight: 600; white-space: nowrap; }
.DIFFERENT { white-space: nowrap; color: var(--bad); font-weight: 700; outline: 2px solid; outline-offset: -3px; }
figure { margin: 12px 0 28px; }
figure svg { display: block; width: 100%; height: auto; overflow: visible; }
figure svg text { font-family: "DejaVu Sans", Verdana, system-ui, sans-serif !important; }
dl { margin: 0; display: grid; grid-template-columns: minmax(110px, max-content) 1fr; column-gap: 20px; row-gap: 4px; }
dl.words { row-gap: 8px; max-width: 105ch; }
dt { font-weight: 600; }
dd { margin: 0; overflow-wrap: anywhere; }
code { font: 12.5px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
.proofs td, .proofs th { font-size: 13px; }
.proofs td code { display: block; }
@page { size: A4 landscape; margin: 12mm; }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  table, .proofs td, .proofs th { font-size: 8pt; } code { font-size: 7.5pt; }
  th, td { padding: 3px 6px; }
  .scroll { overflow: visible; }
  figure, tr, dt, dd, dl:not(.words) { break-inside: avoid; } h2, h3 { break-after: avoid; }
  figure svg { max-height: 165mm; }
}
</style>
</head>
<body>
<header>
<div class="kicker">Unmerge report{% if comparing %} · {{ runs | length }} runs{% endif %}</div>
<h1>{{ title }}</h1>
{% for name, run in runs.items() %}
<p>{% if comparing %}<b>{{ name }}</b>: {% endif %}A simulated system in which {{ run.clients }} clients tuned one shared model and {{ run.requests }} of them were then deleted, under {{ run.strategies | length }} {{ "strategy" if run.strategies | length == 1 else "strategies" }} of merging: what each serves, what its deletions cost, and whether they were exact.</p>
{% endfor %}
</header>

{% set equal = verdicts | select("equalto", "equal") | list | length %}
{% set different = verdicts | select("equalto", "DIFFERENT") | list | length %}
{% if different %}
<p class="alert" role="alert">Bitwise check: {{ different }} of {{ verdicts | length }} states are DIFFERENT from the state rebuilt from the retained clients alone. See the evidence below.</p>
{% endif %}
<h2>Results</h2>
<p class="note">Accuracy is mean {{ metrics | join(" or ") }}, before and after all deletions.
{% if best %}★ marks the highest value after the deletions.{% endif %}

{% if comparing %}Strategies are named run/strategy.{% endif %}

Bitwise check: {{ equal }} equal, {{ different }} different, {{ verdicts | length - equal - different }} not run.</p>
<div class="scroll">
<table>
<thead><tr>{% for key, heading in columns.items() %}<th scope="col"{% if key in numeric %} class="number{{ " pair" if key in splits }}"{% endif %}>{{ heading }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in rows %}
<tr>
{% for key, cell in row.items() %}
{% if key == "strategy" %}
<th scope="row">{{ name_of(cell) }}</th>
{% elif key == "bitwise" %}
<td class="{{ cell }}">{{ "✓ " if cell == "equal" else "✗ " if cell == "DIFFERENT" }}{{ cell }}</td>
{% elif key in numeric %}
<td class="number{{ " pair" if key in splits }}">{{ cell }}{% if row.strategy in best.get(key, ()) %}<span class="mark">★</span>{% endif %}</td>
{% else %}
<td>{{ cell }}</td>
{% endif %}
{% endfor %}
</tr>
{% endfor %}
</tbody>
</table>
</div>

{% if unlearning %}
<h2>Unlearning, beside retraining</h2>
<p class="note">After the deletions, over all examples. The reference is the strategy central, trained again without the forgotten; the average gap is the mean distance from it in both accuracies of training examples, in test accuracy and in MIA efficacy.</p>
{{ numbers(unlearning_columns, unlearning) -}}
{% endif %}

<h2>Accuracy against deletions</h2>
<figure role="group" aria-label="Two line charts: accuracy held-in and held-out against the number of clients deleted">
{{ figures.accuracy | safe }}
<figcaption>Filled markers: exact strategies; hollow markers: approximate ones. A strategy has the same colour and marker in every figure.</figcaption>
</figure>

{% if waiting %}
<h2>Time to forget</h2>
<p class="note">Simulated days from a request to the publication of models without its data: waiting for the release, then the work on it, as long as it was measured to take on the scenario's workers.
{% for name, line in compressed.items() if line %}{% if comparing %}{{ name }}: {% endif %}{{ line }} {% endfor %}</p>
{{ numbers(waiting_columns, waiting) -}}
{% endif %}
{% if "waiting" in figures %}
<figure role="group" aria-label="Histograms: days from request to publication, by strategy">
{{ figures.waiting | safe }}
<figcaption>A row per strategy; the height of a bar is the share of its deletions.</figcaption>
</figure>
<figure role="group" aria-label="Step chart: deletions that wait, over simulated days">
{{ figures.backlog | safe }}
<figcaption>Requests that have arrived and are not published yet, of the first seed.</figcaption>
</figure>
<figure role="group" aria-label="Two line charts: accuracy held-in and storage over simulated days">
{{ figures.over_time | safe }}
<figcaption>At each evaluation.</figcaption>
</figure>
{% endif %}

<h2>Cost against deletions</h2>
<figure role="group" aria-label="Line chart: cumulative gradient steps against the number of clients deleted">
{{ figures.cost | safe }}
<figcaption>Every gradient step that any client took for the deletions so far, on a logarithmic scale that is linear next to zero. The dashed line is the price of training all retained clients again at each release.</figcaption>
</figure>

<h2>Accuracy against storage</h2>
<figure role="group" aria-label="Scatter chart: accuracy held-in after the deletions against bytes stored">
{{ figures.storage | safe }}
<figcaption>Up and to the left is better.{% if entries | selectattr("spread") | list %} Bars: one standard deviation over seeds.{% endif %}</figcaption>
</figure>

<h2>The price in detail</h2>
<div class="scroll">
<table>
<thead><tr><th scope="col">strategy</th><th scope="col" class="number">parallel steps
learn / forget</th><th scope="col" class="number">client tunings</th><th scope="col" class="number">client seconds
learn / forget</th><th scope="col" class="number">sent to clients</th><th scope="col" class="number">sent by clients</th><th scope="col" class="number">storage
before → after</th></tr></thead>
<tbody>
{% for entry in entries %}
{% set r = entry.result %}
<tr><th scope="row">{{ name_of(entry.label) }}</th>
<td class="number">{{ "{:,.0f} / {:,.0f}".format(r.parallel_steps.learn, r.parallel_steps.forget) }}</td>
<td class="number">{{ "{:,}".format(r.client_tunings) }}</td>
<td class="number">{{ "{:,.1f} / {:,.1f}".format(r.seconds.learn, r.seconds.forget) }}</td>
<td class="number">{{ r.bytes_down | bytes }}</td>
<td class="number">{{ r.bytes_up | bytes }}</td>
<td class="number">{{ r.storage_before | bytes }} → {{ r.storage_bytes | bytes }}</td></tr>
{% endfor %}
</tbody>
</table>
</div>

<h2>How to read it</h2>
<dl class="words">
<dt>held-in</dt><dd>Mean over the current clients, those not deleted, each served its own model.</dd>
<dt>held-in, other half</dt><dd>Where the same data are reported that settings are chosen on, settings are chosen on half of the members. This is the mean over the other half, on whom nothing was chosen.</dd>
<dt>held-out</dt><dd>Mean over all clients; the forgotten are served as unknown, with what the system gives to someone who never joined.</dd>
<dt>forgotten</dt><dd>Mean over the forgotten clients alone: before, served as members; after, as unknown. Forgetting shows as a fall to what an unknown client gets.</dd>
{% if "unseen" in columns %}
<dt>unseen</dt><dd>Mean over clients who never joined: what anybody is served who comes later.</dd>
{% endif %}
{% if unlearning %}
<dt>retained, forgotten, test</dt><dd>Share of examples answered right: training examples of current clients, training examples of the forgotten, and test examples of all clients, each under the model that its client is served. Answers in free text count with their probability.</dd>
<dt>MIA efficacy, AUC</dt><dd>A membership attack learns to tell confidences of retained training examples from those of test examples; its efficacy is the share of forgotten examples that it takes for non-members. AUC: the probability that a forgotten example is answered with more confidence than a test example; ½ is chance.</dd>
{% endif %}
<dt>gradient step</dt><dd>One optimizer step on one client's batch. A mask step over a cluster of n members counts n. Steps of the parallel kind count only the longest chain that cannot be done at the same time.</dd>
<dt>storage</dt><dd>Bytes of the files that the server keeps in order to serve and to forget.</dd>
<dt>exact</dt><dd>After a deletion the state is that of a system that never had the client. Approximate strategies make no such promise.</dd>
<dt>bitwise check</dt><dd>“equal”: the state was built once more from the retained clients alone, and its digest is the same, bit for bit. “DIFFERENT”: it is not. “approximate”: it is not, and the strategy does not claim it. “not run”: this was not checked.</dd>
<dt>deletion rule</dt><dd><b>erase</b>: nothing was merged, files are removed; <b>subtract</b>: the client's task vector is derived again and subtracted from the sum; <b>relearn</b>: subtracted, then masks or clusters are learned again; <b>rebuild</b>: needs every retained task vector again; <b>retrain</b>: needs the retained data again; <b>edit</b>: the served model is changed by means of the forgotten data, which is approximate.</dd>
</dl>

<h2>Evidence</h2>
{% for name, run in runs.items() %}
{% if comparing %}<h3>{{ name }}</h3>{% endif %}

<dl>
<dt>scenario digest</dt><dd><code>{{ run.scenario_digest }}</code></dd>
<dt>ledger head</dt><dd><code>{{ run.ledger.head }}</code></dd>
<dt>ledger records</dt><dd>{{ run.ledger.records }}</dd>
</dl>
{% endfor %}
<p class="note">The digests of each strategy: of its state after the deletions, and of the state rebuilt from the retained clients alone.</p>
<table class="proofs">
<thead><tr><th scope="col">strategy</th><th scope="col">rule and settings</th><th scope="col">state digest, then rebuilt digest</th><th scope="col">bitwise check</th></tr></thead>
<tbody>
{% for entry in entries %}
{% set r = entry.result %}
<tr><th scope="row">{{ name_of(entry.label) }}</th>
<td>{{ r.strategy }}{% if r.tuning %}, {{ r.tuning | replace("_", "-") }} tuning{% endif %}{% for key, value in r.parameters.items() %}, {{ key }}&nbsp;{{ value | join(" ") if value is sequence and value is not string else value }}{% endfor %}</td>
<td><code>{{ r.state_digest }}</code><code>{{ r.rebuilt_digest or "not rebuilt" }}</code></td>
<td class="{{ verdicts[loop.index0] }}">{{ verdicts[loop.index0] }}</td></tr>
{% endfor %}
</tbody>
</table>

<h2>Environment</h2>
{% for name, run in runs.items() %}
{% if comparing %}<h3>{{ name }}</h3>{% endif %}

<dl>
<dt>seeds</dt><dd>{{ run.seeds | join(", ") }}</dd>
{% if run.notes %}<dt>missing</dt><dd>{% for line in run.notes %}{{ line }}<br>{% endfor %}</dd>{% endif %}
{% if run.data %}<dt>data</dt><dd>{{ run.data | join(" ") }}</dd>{% endif %}

<dt>duration</dt><dd>{{ "{:,.0f}".format(run.seconds) }} s</dd>
<dt>parameters</dt><dd>{{ "{:,}".format(run.parameters.total) }}, of which {{ "{:,}".format(run.parameters.tunable) }} are tuned</dd>
{% for key, value in run.environment.items() %}
<dt>{{ key }}</dt><dd>{{ value }}</dd>
{% endfor %}
</dl>
{% endfor %}
</body>
</html>
"""
