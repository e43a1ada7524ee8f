# ruff: noqa: E501
"""The report's page as a jinja2 template.

In a module, because `flwr run .` copies an app's Python files but not a template's.
"""

PAGE = r"""{% extends "frame" %}
{% from "parts" import computed, figure, filters, name_of, numbers, said %}
{% set comparing = runs | length > 1 %}
{% block title %}{{ runs.values() | map(attribute="name") | unique | join(", ") }}{% endblock %}
{% block body %}
<header>
<div class="kicker">Unmerge report{% if comparing %} · {{ runs | length }} runs{% endif %}</div>
<h1>{{ self.title() }}</h1>
{% for name, run in runs.items() %}
<p>{% if comparing %}<b>{{ name }}</b>: {% endif %}A simulated system in which {{ run.clients }} clients tuned one shared model and {{ run.requests }} of them were then deleted, under {{ run.strategies | length }} {{ "strategy" if run.strategies | length == 1 else "strategies" }} of merging: what each serves, what its deletions cost, and whether they were exact.</p>
{% endfor %}
</header>

{% set equal = verdicts | select("equalto", "equal") | list | length %}
{% set different = verdicts | select("equalto", "DIFFERENT") | list | length %}
{% if different %}
<p class="alert" role="alert">Bitwise check: {{ different }} of {{ verdicts | length }} states are DIFFERENT from the state rebuilt from the retained clients alone. See the evidence below.</p>
{% endif %}
{% if words.values() | select | list %}
<h2>In short</h2>
{% for name, lines in words.items() if lines %}
{% if comparing %}<h3>{{ name }}</h3>{% endif %}

{{ said(lines) }}
{% endfor %}
{{ computed("") }}
{% endif %}

<h2>Results</h2>
<p class="note">Accuracy is mean {{ metrics | join(" or ") }}, before and after all deletions.
{% if best %}★ marks the highest value after the deletions.{% endif %}

{% if comparing %}Strategies are named run/strategy.{% endif %}

Bitwise check: {{ equal }} equal, {{ different }} different, {{ verdicts | length - equal - different }} not run.</p>
{{ filters("results", {"Strategy": (0, rows | map(attribute="strategy") | list), "Exact": (1, rows | map(attribute="exact") | unique | list)}) -}}
<div class="scroll" role="region" tabindex="0" aria-label="Results by strategy">
<table class="sortable" id="results">
<thead><tr>{% for key, heading in columns.items() %}<th scope="col"{% if key in numeric %} class="number{{ " pair" if key in splits }}"{% endif %}>{{ heading }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in rows %}
{% set sorted_by = keys[loop.index0] %}
<tr>
{% for key, cell in row.items() %}
{% if key == "strategy" %}
<th scope="row">{{ name_of(cell) }}</th>
{% elif key == "bitwise" %}
<td class="{{ cell }}">{{ "✓ " if cell == "equal" else "✗ " if cell == "DIFFERENT" }}{{ cell }}</td>
{% elif key in numeric %}
<td class="number{{ " pair" if key in splits }}" data-value="{{ "" if sorted_by[key] is none else sorted_by[key] }}">{{ cell }}{% if row.strategy in best.get(key, ()) %}<span class="mark">★</span>{% endif %}</td>
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
{{ numbers(unlearning_columns, unlearning, "Unlearning by strategy") -}}
{% endif %}

<h2>Accuracy against deletions</h2>
{% call figure(figures.accuracy, "accuracy", command, "Two line charts: accuracy held-in and held-out against the number of clients deleted") %}Filled markers: exact strategies; hollow markers: approximate ones. A strategy has the same colour, marker and line in every figure; variants of one share its colour. What others are measured by is grey.{% if bands %} Bands: least and most over seeds.{% endif %}{% endcall %}

{% if waiting %}
<h2>Time to forget</h2>
<p class="note">Simulated days from a request to the publication of models without its data: waiting for the release, then the work on it, as long as it was measured to take on the scenario's workers.
{% for name, line in compressed.items() if line %}{% if comparing %}{{ name }}: {% endif %}{{ line }} {% endfor %}</p>
{{ numbers(waiting_columns, waiting, "Time to forget by strategy") -}}
{% endif %}
{% if "waiting" in figures %}
{% call figure(figures.waiting, "waiting", command, "Histograms: days from request to publication, by strategy") %}A row per strategy; the height of a bar is the share of its deletions.{% endcall %}
{% call figure(figures.backlog, "backlog", command, "Step chart: deletions that wait, over simulated days") %}Requests that have arrived and are not published yet, of the first seed.{% endcall %}
{% call figure(figures.over_time, "over_time", command, "Two line charts: accuracy held-in and storage over simulated days") %}At each evaluation.{% endcall %}
{% endif %}

<h2>Cost against deletions</h2>
{% call figure(figures.cost, "cost", command, "Line chart: cumulative gradient steps against the number of clients deleted") %}Every gradient step that any client took for the deletions so far, on a logarithmic scale that is linear next to zero. The dashed line is the price of training all retained clients again at each release.{% if bands %} Bands: least and most over seeds.{% endif %}{% endcall %}

<h2>Accuracy against storage and deletion cost</h2>
{% call figure(figures.storage, "storage", command, "Scatter charts: accuracy held-in after the deletions against bytes stored and gradient steps per deletion") %}Up and to the left is better. A ring marks who is dominated by no other in accuracy, storage and steps per deletion together; an approximate strategy dominates no exact one.{% if entries | selectattr("spread") | list %} Bars: one standard deviation over seeds.{% endif %}{% endcall %}

<h2>The price in detail</h2>
<div class="scroll" role="region" tabindex="0" aria-label="The price in detail by strategy">
<table class="sortable">
<thead><tr><th scope="col">strategy</th><th scope="col" class="number">parallel steps
learn / forget</th><th scope="col" class="number">client tunings</th><th scope="col" class="number">client seconds
learn / forget</th><th scope="col" class="number">sent to clients</th><th scope="col" class="number">sent by clients</th><th scope="col" class="number">storage
before → after</th></tr></thead>
<tbody>
{% for entry in entries %}
{% set r = entry.result %}
<tr><th scope="row">{{ name_of(entry.label) }}</th>
<td class="number" data-value="{{ r.parallel_steps.forget }}">{{ "{:,.0f} / {:,.0f}".format(r.parallel_steps.learn, r.parallel_steps.forget) }}</td>
<td class="number">{{ "{:,}".format(r.client_tunings) }}</td>
<td class="number" data-value="{{ r.seconds.forget }}">{{ "{:,.1f} / {:,.1f}".format(r.seconds.learn, r.seconds.forget) }}</td>
<td class="number" data-value="{{ r.bytes_down }}">{{ r.bytes_down | bytes }}</td>
<td class="number" data-value="{{ r.bytes_up }}">{{ r.bytes_up | bytes }}</td>
<td class="number" data-value="{{ r.storage_bytes }}">{{ r.storage_before | bytes }} → {{ r.storage_bytes | bytes }}</td></tr>
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

<p class="note">Commands are as typed in the folder that holds {{ runs | join(" and ") }}; the results themselves are made by <code>unmerge run</code> with the folder's <code>scenario.yaml</code>.</p>

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
<div class="scroll" role="region" tabindex="0" aria-label="Digests by strategy">
<table class="proofs sortable">
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
</div>

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
{% endblock %}
"""
