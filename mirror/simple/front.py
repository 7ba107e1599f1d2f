"""The front page, for people: what this mirror is, how to install from it alone, and what it holds."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from mirror.coverage import floored
from mirror.figures import counted, size
from mirror.layout import SIMPLE, project_html_key, project_list_keys
from mirror.model import Origin
from mirror.simple.html import escape
from mirror.simple.people import (
    ADDRESS,
    INDEX,
    YANKED,
    Dress,
    ascii_bytes,
    closing,
    foreign,
    opening,
    snippet,
    status_tag,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mirror.model import Manifest, TargetCoverage
    from mirror.simple.held import HeldProject

DRESS = Dress.of(
    """
.menu{display:flex;flex-wrap:wrap;gap:.25rem 1.5rem;margin:1.25rem 0 0;padding:0;list-style:none}
.locks{list-style:none;margin:0 0 1.5rem;padding:0}
.locks li{padding:.5rem 0;border-bottom:1px solid var(--line)}
.locks code{display:block;color:var(--soft);font-size:.75rem;overflow-wrap:anywhere}
.bar{display:block;width:100%;min-width:6rem;height:.6rem;border-radius:99px;background:var(--note-bg)}
.bar .wheels{fill:var(--accent)}.bar .sdists{fill:var(--link)}.bar .missing{fill:var(--warn)}
.chart{width:34%}
.chart div{display:flex;align-items:center;gap:.9rem}.chart span{flex:none;min-width:4.2rem;text-align:right;
font-variant-numeric:tabular-nums}
.coverage tbody th{font-size:1rem;color:var(--ink)}
.key{display:inline-block;width:.6rem;height:.6rem;border-radius:99px;margin-right:.4rem;background:var(--accent)}
.key.sdists{background:var(--link)}.key.missing{background:var(--warn)}
.find{display:flex;flex-wrap:wrap;gap:.5rem 1rem;align-items:baseline;margin:0 0 1rem}
.find input{flex:1 1 16rem;max-width:28rem;font:inherit;padding:.45rem .8rem;color:var(--ink);background:var(--card);
border:1px solid var(--soft);border-radius:8px}
.find output{color:var(--soft);font-size:.925rem}
.projects{list-style:none;margin:0;padding:0;border-top:1px solid var(--line)}
.projects li{display:grid;grid-template-columns:minmax(0,1fr) minmax(0,16rem) 5rem 5.5rem;gap:0 1.25rem;
padding:.6rem 0;border-bottom:1px solid var(--line);align-items:baseline}
.projects a{font-weight:600;overflow-wrap:anywhere}
.summary{grid-column:1/-1;color:var(--soft);font-size:.925rem;overflow-wrap:anywhere}
.versions{overflow-wrap:anywhere}
@media(max-width:46rem){.projects li{grid-template-columns:minmax(0,1fr) auto;padding:.7rem 0}
.projects .number{grid-column:2;font-size:.875rem}.projects .name{grid-row:1}
.versions{grid-row:2;font-size:.925rem}
.coverage thead{position:absolute;clip-path:inset(50%)}.coverage tbody,.coverage tr{display:block}
.coverage tr{display:flex;flex-wrap:wrap;gap:0 1rem;padding:.65rem 0;border-bottom:1px solid var(--line)}
.coverage td,.coverage tbody th{padding:0;border:0;white-space:normal;text-align:left}
.coverage td{font-size:.875rem;color:var(--soft)}
.coverage .chart{width:100%;padding:.4rem 0}
.coverage td[data-of]::after{content:" " attr(data-of)}}
""",
    """
const box=document.getElementById('search');
if(box){
const rows=[...document.querySelectorAll('.projects li')].map(row=>[row,row.textContent.toLowerCase()]);
const told=document.getElementById('found');
const find=()=>{
const words=box.value.toLowerCase().split(/\\s+/).filter(Boolean);
let found=0;
for(const [row,text] of rows){const fits=words.every(word=>text.includes(word));row.hidden=!fits;found+=fits}
told.textContent=words.length?`${found} of ${rows.length}`:''};
box.addEventListener('input',find);
box.closest('.find').hidden=false;
find()}
""",
)
"""The style and script of this page."""

_PIP = f"""\
pip config set global.index-url {INDEX}
pip install --require-hashes -r requirements-prod.txt"""
_UV = f"""\
[[tool.uv.index]]
name = "mirror"
url = "{INDEX}"
default = true"""
_POETRY = f"""\
[[tool.poetry.source]]
name = "mirror"
url = "{INDEX}"
priority = "primary\""""
_PDM = f"""\
[[tool.pdm.source]]
name = "pypi"
url = "{INDEX}\""""
_DOCKERFILE = f"""\
ENV PIP_INDEX_URL={INDEX} \\
    UV_DEFAULT_INDEX={INDEX}
COPY requirements-prod.txt .
RUN pip install --no-cache-dir \\
    --require-hashes -r requirements-prod.txt"""

_LEAD = f"""\
<header>
<h1>Python package mirror</h1>
<p class="lead">Exactly what the lock files pin, for every platform they run on: each file here has the digest that
was locked, and nothing else is here. Installers read it at <a href="{project_list_keys()[0]}">{SIMPLE}</a>.</p>
"""

_WAYS = f"""\
<h2 id="use">Make it the only index</h2>
<p class="hint">Put the address of this page, as your browser shows it, in the place of <mark>{ADDRESS}</mark>.</p>
<div class="ways">
<section class="way wide">
<h3>pip</h3>
{snippet(_PIP, "pip")}
<p>From then on pip, and every tool that runs it, asks this mirror alone.</p>
</section>
<section class="way">
<h3>uv</h3>
{snippet(_UV, "uv")}
<p>In <code>pyproject.toml</code>; as the default index it takes the place of PyPI.</p>
</section>
<section class="way">
<h3>Poetry</h3>
{snippet(_POETRY, "Poetry")}
<p>In <code>pyproject.toml</code>; with a primary source of its own, Poetry leaves PyPI out.</p>
</section>
<section class="way">
<h3>PDM</h3>
{snippet(_PDM, "PDM")}
<p>In <code>pyproject.toml</code>; a source of that very name takes the place of PyPI.</p>
</section>
<section class="way">
<h3>Dockerfile</h3>
{snippet(_DOCKERFILE, "Dockerfile")}
<p>After <code>FROM</code>, with the requirements file that lies beside the lock.</p>
</section>
</div>
<p class="warn">Never as <code>--extra-index-url</code>: pip then asks every index and takes the highest version from
any of them, so whoever publishes one of your names on a public index, or one minute in which this mirror does not
answer, decides what you install.</p>
"""

_COVERAGE = """\
<h3 id="coverage">Coverage by platform</h3>
<p>Counted are locked packages, once for each Python version that wants them: how many have a wheel here, how many have
to be built from source, and how many have no file here.</p>
<table class="coverage">
<thead><tr><th scope="col">Platform</th><th scope="col">CPython</th><th scope="col" class="chart">With a wheel</th>
<th scope="col" class="number"><i class="key"></i>Wheels</th>
<th scope="col" class="number"><i class="key sdists"></i>From source</th>
<th scope="col" class="number"><i class="key missing"></i>None</th></tr></thead>
<tbody>
"""

_SEARCH = """\
<div class="find" hidden><label for="search">Find a project</label>
<input type="search" id="search" autocomplete="off" spellcheck="false">
<output id="found" for="search" aria-live="polite"></output></div>
"""


def render(manifest: Manifest, projects: Sequence[HeldProject]) -> bytes:
    """The front page as HTML5, ASCII only, with relative links: a pure function of a manifest and its projects."""
    parts = [
        opening(DRESS, "Python package mirror", "./"),
        _LEAD,
        _figures(projects),
        _menu(manifest),
        "</header>\n<main>\n",
        _WAYS,
        _mirrored(manifest),
        '<h2 id="projects">Projects</h2>\n',
        f'{_SEARCH}<ul class="projects">\n' if projects else "<p>Nothing is mirrored yet.</p>\n",
    ]
    parts += [_project(project) for project in projects]
    parts += ["</ul>\n" if projects else "", "</main>\n", closing(DRESS)]
    return ascii_bytes(parts)


def _figures(projects: Sequence[HeldProject]) -> str:
    artifacts = [artifact for project in projects for release in project.releases for artifact in release.artifacts]
    kinds = Counter("wheel" if artifact.filename.endswith(".whl") else "sdist" for artifact in artifacts)
    of_which = ", ".join(counted(kinds[kind], kind) for kind in ("wheel", "sdist") if kinds[kind])
    figures = (
        ("projects", f"{len(projects):,}"),
        ("releases", f"{sum(len(project.releases) for project in projects):,}"),
        (f"files: {of_which}" if artifacts else "files", f"{len(artifacts):,}"),
        ("to download in all", size(sum(project.size for project in projects))),
    )
    rows = "".join(f"<div><dt>{label}</dt><dd>{figure}</dd></div>\n" for label, figure in figures)
    return f'<dl class="figures">\n{rows}</dl>\n'


def _menu(manifest: Manifest) -> str:
    places = [("use", "How to use it")]
    places += [("mirrored", "What is mirrored")] if manifest.locks or manifest.coverage else []
    places += [("projects", "Projects")]
    items = "".join(f'<li><a href="#{place}">{label}</a></li>\n' for place, label in places)
    return f'<nav aria-label="On this page"><ul class="menu">\n{items}</ul></nav>\n'


def _mirrored(manifest: Manifest) -> str:
    """The locks, by name where they are known, and what each target gets of them."""
    named = {origin.digest for origin in manifest.origins}
    locks = (*manifest.origins, *(Origin(digest=digest, file="") for digest in manifest.locks if digest not in named))
    if not locks and not manifest.coverage:
        return ""
    items = "".join(map(_lock, locks))
    listed = f'<ul class="locks">\n{items}</ul>\n' if locks else ""
    return f'<h2 id="mirrored">What is mirrored</h2>\n{listed}{_coverage(manifest.coverage)}'


def _lock(origin: Origin) -> str:
    project = f"<strong>{foreign(origin.project)}</strong>, " if origin.project else ""
    named = f"{project}{foreign(origin.file)}: {counted(origin.packages, 'package')}" if origin.file else ""
    return f"<li>{named}<code>{foreign(origin.digest)}</code></li>\n"


def _coverage(rows: Sequence[TargetCoverage]) -> str:
    return f"{_COVERAGE}{''.join(map(_target, rows))}</tbody>\n</table>\n" if rows else ""


def _target(row: TargetCoverage) -> str:
    gone = row.missing + row.direct
    share = 100 * row.wheels / row.wanted if row.wanted else 100.0
    return (
        f'<tr><th scope="row">{escape(row.target)}</th><td>{escape(", ".join(row.pythons))}</td>'
        f'<td class="chart"><div>{_bar(row)}<span>{floored(share)} %</span></div></td>'
        f'<td class="number" data-of="wheels">{row.wheels:,}</td>'
        f'<td class="number" data-of="from source">{row.sdists:,}</td>'
        f'<td class="number" data-of="without a file">{gone:,}</td></tr>\n'
    )


def _bar(row: TargetCoverage) -> str:
    """The parts of what is wanted, to scale; the numbers beside it say the same."""
    shares = (("wheels", row.wheels), ("sdists", row.sdists), ("missing", row.missing + row.direct))
    parts, place = [], 0
    for kind, cells in shares:
        if cells:
            parts.append(f'<rect class="{kind}" x="{place}" width="{cells}" height="1"/>')
        place += cells
    return (
        f'<svg class="bar" viewBox="0 0 {max(place, 1)} 1" preserveAspectRatio="none" aria-hidden="true">'
        f"{''.join(parts)}</svg>"
    )


def _project(project: HeldProject) -> str:
    name = escape(project.name)
    versions = ", ".join(f"{escape(release.version)}{YANKED if release.yanked else ''}" for release in project.releases)
    said = project.about.summary if project.about else ""
    summary = f'<span class="summary">{foreign(said)}</span>' if said else ""
    return (
        f'<li><span class="name"><a href="{project_html_key(name)}">{name}</a>'
        f"{status_tag(project.status.status) if project.status else ''}</span>"
        f'<span class="versions">{versions}</span><span class="number">{counted(project.files, "file")}</span>'
        f'<span class="number">{size(project.size)}</span>{summary}</li>\n'
    )
