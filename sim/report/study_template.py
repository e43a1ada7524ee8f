# ruff: noqa: E501
"""The page of a study as a jinja2 template; its frame and parts are those of all pages (``shell``)."""

STUDY = r"""{% extends "frame" %}
{% from "parts" import computed, figure, filters, name_of, said %}
{% block title %}{{ about.name }}{% endblock %}
{% macro drawn(each) %}
{% call figure(each.svg, each.name, command, each.about) %}{{ each.caption }}{% if several %} {{ "Bars" if each.kind == "pareto" else "Lines: means over seeds; bands" }}: least and most over seeds.{% endif %}{% endcall %}
{% endmacro %}
{% macro folded(parts, opened) %}
{% for part in parts %}
{% if parts | length > 1 %}<details{{ " open" if loop.index == opened }}><summary>{{ part.title }}</summary>{% endif %}

{% for each in part.figures %}
{{ drawn(each) -}}
{% endfor %}
{% if parts | length > 1 %}</details>{% endif %}

{% endfor %}
{% endmacro %}
{% block body %}
<header>
<div class="kicker">Unmerge study</div>
<h1>{{ about.name }}</h1>
<p>{{ strategies | length }} {{ "strategy" if strategies | length == 1 else "strategies" }} at {{ points }} {{ "point" if points == 1 else "points" }}{% if about.axes %}, along {% for axis, values in about.axes.items() %}{{ ", " if not loop.first }}<b>{{ axis }}</b> ({{ values | map("string") | join(", ") }}){% endfor %}{% endif %}; {{ "seeds" if several else "seed" }} {{ about.seeds | join(", ") }}.{% if metric != "accuracy" %} Accuracy is mean {{ metric }}.{% endif %}</p>
</header>

{% if about.points.done < about.points.asked %}
<p class="alert" role="alert">{{ about.points.done }} of {{ about.points.asked }} points are done. Go on with: <code>unmerge run --resume {{ folder }}</code></p>
{% endif %}
{% if words %}
<h2>In short</h2>
{% for heading, lines in words.items() %}
{% if heading %}<h3>{{ heading }}</h3>{% endif %}

{{ said(lines) }}
{% endfor %}
{{ computed(" Figures are means over seeds." if several else "") }}
{% endif %}

{% if about.verdicts %}
<h2>Claims</h2>
<div class="scroll" role="region" tabindex="0" aria-label="Claims and verdicts">
<table class="sortable">
<thead><tr><th scope="col">claim</th><th scope="col">source</th><th scope="col">here</th><th scope="col">why</th><th scope="col">published</th></tr></thead>
<tbody>
{% for each in about.verdicts %}
<tr><th scope="row">{{ each.claim }}</th><td>{{ each.source }}</td><td class="{{ {true: "equal", false: "DIFFERENT", none: ""}[each.holds] }}">{{ {true: "✓ holds", false: "✗ does not hold", none: "– not decided"}[each.holds] }}</td><td>{{ each.why }}</td><td>{{ each.published }}</td></tr>
{% endfor %}
</tbody>
</table>
</div>
{% endif %}

{% for axis, parts in groups.items() if parts %}
<h2>Along {{ axis }}</h2>
{{ folded(parts, 1) -}}
{% if parts | length == drawn_most and about.axes | length > 1 %}
<p class="note">At most {{ drawn_most }} combinations of the other values are drawn; the table has all.</p>
{% endif %}
{% endfor %}

<h2>Accuracy against storage and deletion cost</h2>
{{ folded(pareto, pareto | length) -}}
{% if pareto | length < points %}
<p class="note">The first {{ pareto | length }} points are drawn; the table has all.</p>
{% endif %}

<h2>All points</h2>
{{ filters("points", choices) -}}
<div class="scroll" role="region" tabindex="0" aria-label="All points by strategy">
<table class="sortable" id="points">
<thead><tr>{% for column in columns.values() %}<th scope="col"{% if column.number %} class="number"{% endif %}>{{ column.heading }}</th>{% endfor %}<th scope="col">run</th></tr></thead>
<tbody>
{% for row in rows %}
{% set sorted_by, link = keys[loop.index0], links[loop.index0] %}
<tr>{% for key, cell in row.items() %}{% if key == "strategy" %}<th scope="row">{{ name_of(cell) }}</th>{% elif key == "bitwise" %}<td class="{{ cell }}">{{ cell }}</td>{% elif columns[key].number %}<td class="number" data-value="{{ "" if sorted_by[key] is none else sorted_by[key] }}">{{ cell }}</td>{% else %}<td>{{ cell }}</td>{% endif %}{% endfor %}<td>{% if link %}<a href="{{ link }}">{{ runs[loop.index0] }}</a>{% else %}{{ runs[loop.index0] }}{% endif %}</td></tr>
{% endfor %}
</tbody>
</table>
</div>
<p class="note">Commands are as typed in the folder that holds {{ folder }}; the results themselves are made by <code>unmerge run</code> with the folder's <code>study.yaml</code>, and a run's own page by <code>unmerge report {{ folder }}/points/RUN</code>.{% if about.seconds is not none %} The study took {{ "{:,.0f}".format(about.seconds) }} s.{% endif %}</p>

<h2>How to read it</h2>
<dl class="words">
<dt>held-in, after</dt><dd>Mean over the clients who are left after all deletions, each served its own model.</dd>
<dt>gap to local</dt><dd>How far that is below clients who each tune alone and share nothing, at the same point and seed.</dd>
<dt>storage</dt><dd>Bytes of the files that the server keeps in order to serve and to forget.</dd>
<dt>gradient step</dt><dd>One optimizer step on one client's batch. A mask step over a cluster of n members counts n.</dd>
<dt>exact, bitwise check</dt><dd>Exact: after a deletion the state is that of a system that never had the client. “equal”: it was built once more from those who are left, and has the same bits.</dd>
</dl>
{% endblock %}
"""
