"""The front page, for people: what this mirror is, how to install from it alone, and what it holds."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

from packaging.version import Version

from mirror.layout import SIMPLE
from mirror.simple.html import escape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from packaging.utils import NormalizedName

    from mirror.model import Artifact, Manifest

_version = lru_cache(maxsize=65536)(Version)

# The page does not know where it will be served, so that it works at every address: people put theirs in.
_ADDRESS = "https://mirror.example/"

_STYLE = """
:root{color-scheme:light dark;--ink:#1c2330;--soft:#5a6475;--page:#fbfaf7;--card:#fff;--line:#e3e0d8;--link:#0b5cad;
--warn:#8f3a06;--warn-bg:#fdf0e3;--note:#5a6475;--note-bg:#eeece5;--mark:#fdf1b8;--accent:#0f766e}
@media(prefers-color-scheme:dark){:root{--ink:#e7e9ee;--soft:#a3adbd;--page:#12151b;--card:#1a1f28;--line:#2d3440;
--link:#82b8f7;--warn:#f6b27c;--warn-bg:#3a2614;--note:#b3bccb;--note-bg:#272e3a;--mark:#4d430f;--accent:#5cc8bd}}
*{box-sizing:border-box}
body{margin:0;border-top:4px solid var(--accent);background:var(--page);
color:var(--ink);font:16px/1.6 system-ui,-apple-system,"Segoe UI",Roboto,
"DejaVu Sans",sans-serif;-webkit-text-size-adjust:100%}
.wrap{max-width:66rem;margin:0 auto;padding:0 1.5rem}
header{padding:3.25rem 0 0}
h1{font-size:2.25rem;line-height:1.15;letter-spacing:-.02em;margin:0 0 .75rem}
h2{font-size:1.3rem;letter-spacing:-.01em;margin:3rem 0 .75rem}
h3{font-size:1rem;margin:0 0 .6rem}
p{margin:0 0 1rem;max-width:46rem}
.lead{font-size:1.1rem;color:var(--soft)}
a{color:var(--link);text-decoration-thickness:1px;text-underline-offset:.2em}
a:hover{text-decoration-thickness:2px}
a:focus-visible,pre:focus-visible{outline:3px solid var(--accent);outline-offset:2px;border-radius:3px}
.totals{display:grid;grid-template-columns:repeat(4,1fr);gap:1px;margin:2rem 0 0;padding:0;background:var(--line);
border:1px solid var(--line);border-radius:10px;overflow:hidden}
.totals div{background:var(--card);padding:1rem 1.25rem;display:flex;flex-direction:column-reverse;
justify-content:flex-end}
.totals dt{color:var(--soft);font-size:.875rem}
.totals dd{margin:0;font-size:1.65rem;font-weight:650;letter-spacing:-.02em;line-height:1.25;
font-variant-numeric:tabular-nums}
code,pre{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.85rem}
.ways{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:1rem}
.way{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:1.1rem 1.25rem;min-width:0}
.wide{grid-column:1/-1}
.way p{color:var(--soft);font-size:.925rem;margin:.7rem 0 0}
pre{margin:0;overflow-x:auto;line-height:1.6}
mark{background:var(--mark);color:inherit;border-radius:3px;padding:.08em .15em}
.warn{margin:1rem 0 0;max-width:none;border-left:4px solid var(--warn);background:var(--warn-bg);
padding:.85rem 1.1rem;border-radius:0 8px 8px 0}
.projects{list-style:none;margin:0;padding:0;border-top:1px solid var(--line)}
.projects li{display:grid;grid-template-columns:minmax(0,19rem) minmax(0,1fr) 6rem 6rem;gap:0 1.25rem;
padding:.5rem 0;border-bottom:1px solid var(--line);align-items:baseline}
.projects a{font-weight:600;overflow-wrap:anywhere}
.versions{color:var(--soft);overflow-wrap:anywhere}
.number{text-align:right;color:var(--soft);font-variant-numeric:tabular-nums;white-space:nowrap}
.tag{display:inline-block;font-size:.75rem;line-height:1.5;padding:0 .5em;border-radius:99px;color:var(--note);
background:var(--note-bg);white-space:nowrap}
.tag.bad{color:var(--warn);background:var(--warn-bg)}
footer{margin:3rem 0;color:var(--soft);font-size:.875rem}
footer code{font-size:.8rem;overflow-wrap:anywhere}
footer ul{margin:.25rem 0 0;padding:0;list-style:none}
@media(max-width:46rem){pre code{font-size:.8rem}
.wrap{padding:0 1.1rem}header{padding-top:2rem}h1{font-size:1.8rem}.lead{font-size:1.02rem}
pre{white-space:pre-wrap;overflow-wrap:anywhere}
.totals{grid-template-columns:repeat(2,1fr)}.ways{grid-template-columns:minmax(0,1fr)}
.projects li{grid-template-columns:minmax(0,1fr) auto;padding:.65rem 0}
.projects .number{grid-column:2;font-size:.875rem}.projects .name{grid-row:1}.versions{grid-row:2;font-size:.925rem}}
"""

POLICY = "; ".join(
    (
        "default-src 'none'",
        f"style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'",
        "base-uri 'none'",
        "form-action 'none'",
    )
)
"""Content-Security-Policy of the page: its own style sheet by digest, and nothing else."""


def render(manifest: Manifest) -> bytes:
    """The front page as HTML5, ASCII only, with relative links: a pure function of the manifest."""
    artifacts = sorted(manifest.artifacts, key=attrgetter("project"))
    projects = [_gather(name, tuple(group)) for name, group in groupby(artifacts, key=attrgetter("project"))]
    statuses = {name: status.status for name, status in manifest.statuses}
    parts = [
        _HEAD,
        _totals(projects),
        _WAYS,
        '<h2 id="projects">Projects</h2>\n<ul class="projects">\n' if projects else _NOTHING,
        *(_project(project, statuses.get(project.name, "active")) for project in projects),
        "</ul>\n" if projects else "",
        "</main>\n",
        _footer(manifest.locks),
        "</div>\n</body>\n</html>\n",
    ]
    return "".join(parts).encode("ascii", "xmlcharrefreplace")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Project:
    name: NormalizedName
    artifacts: tuple[Artifact, ...]
    size: int
    releases: tuple[tuple[str, bool], ...]
    """Versions, newest first, and whether every file of each is yanked."""


def _gather(name: NormalizedName, artifacts: tuple[Artifact, ...]) -> _Project:
    kept: dict[Version, bool] = {}
    for artifact in artifacts:
        version = _version(artifact.version)
        kept[version] = kept.get(version, False) or artifact.yanked is None
    return _Project(
        name=name,
        artifacts=artifacts,
        size=sum(artifact.size for artifact in artifacts),
        releases=tuple((str(version), not kept[version]) for version in sorted(kept, reverse=True)),
    )


def _project(project: _Project, status: str) -> str:
    name = escape(project.name)
    badge = "" if status == "active" else f' <span class="{_badge(status)}">{escape(status)}</span>'
    releases = ", ".join(
        escape(version) + (' <span class="tag bad">yanked</span>' if yanked else "")
        for version, yanked in project.releases
    )
    return (
        f'<li><span class="name"><a href="{SIMPLE}{name}/">{name}</a>{badge}</span>'
        f'<span class="versions">{releases}</span>'
        f'<span class="number">{_count(len(project.artifacts), "file")}</span>'
        f'<span class="number">{_size(project.size)}</span></li>\n'
    )


def _badge(status: str) -> str:
    return "tag bad" if status == "quarantined" else "tag"


def _totals(projects: Sequence[_Project]) -> str:
    artifacts = [artifact for project in projects for artifact in project.artifacts]
    kinds = Counter("wheel" if artifact.filename.endswith(".whl") else "sdist" for artifact in artifacts)
    of_which = ", ".join(_count(kinds[kind], kind) for kind in ("wheel", "sdist") if kinds[kind])
    figures = (
        ("projects", f"{len(projects):,}"),
        ("releases", f"{sum(len(project.releases) for project in projects):,}"),
        (f"files: {of_which}" if artifacts else "files", f"{len(artifacts):,}"),
        ("to download in all", _size(sum(project.size for project in projects))),
    )
    rows = "".join(f"<div><dt>{label}</dt><dd>{figure}</dd></div>\n" for label, figure in figures)
    return f'<dl class="totals">\n{rows}</dl>\n</header>\n<main>\n'


def _footer(locks: Sequence[str]) -> str:
    items = "".join(f"<li><code>{escape(lock)}</code></li>\n" for lock in locks)
    stands = f"<p>It stands for the lock files with these digests:</p>\n<ul>\n{items}</ul>\n"
    return f"<footer>\n{stands}</footer>\n" if locks else ""


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _size(size: int) -> str:
    """Bytes in decimal units, three digits of them, as download tools state them."""
    amount, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if round(amount) < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.0f} {unit}" if unit == "B" or amount >= 99.95 else f"{amount:.1f} {unit}"


def _snippet(text: str) -> str:
    marked = escape(text).replace(_ADDRESS, f"<mark>{_ADDRESS}</mark>")
    return f'<pre tabindex="0"><code>{marked}</code></pre>'


_INDEX = f"{_ADDRESS}{SIMPLE}"
_PIP = f"""\
pip config set global.index-url {_INDEX}
pip install --require-hashes -r requirements-prod.txt"""
_UV = f"""\
[[tool.uv.index]]
name = "mirror"
url = "{_INDEX}"
default = true"""
_POETRY = f"""\
[[tool.poetry.source]]
name = "mirror"
url = "{_INDEX}"
priority = "primary\""""

_HEAD = f"""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>Python package mirror</title>
<style>{_STYLE}</style>
</head>
<body>
<div class="wrap">
<header>
<h1>Python package mirror</h1>
<p class="lead">Exactly what the lock files pin, for every platform they run on: each file here has the digest that
was locked, and nothing else is here. Installers read it at <a href="{SIMPLE}">{SIMPLE}</a>.</p>
"""

_WAYS = f"""\
<h2 id="use">Make it the only index</h2>
<p>Put the address of this page, as your browser shows it, in the place of <mark>{_ADDRESS}</mark>.</p>
<div class="ways">
<section class="way wide">
<h3>pip</h3>
{_snippet(_PIP)}
<p>From then on pip, and every tool that runs it, asks this mirror alone.</p>
</section>
<section class="way">
<h3>uv</h3>
{_snippet(_UV)}
<p>In <code>pyproject.toml</code>; as the default index it takes the place of PyPI.</p>
</section>
<section class="way">
<h3>Poetry</h3>
{_snippet(_POETRY)}
<p>In <code>pyproject.toml</code>; with a primary source of its own, Poetry leaves PyPI out.</p>
</section>
</div>
<p class="warn">Never as <code>--extra-index-url</code>: pip then asks every index and takes the highest version from
any of them, so whoever publishes one of your names on a public index, or one minute in which this mirror does not
answer, decides what you install.</p>
"""

_NOTHING = '<h2 id="projects">Projects</h2>\n<p>Nothing is mirrored yet.</p>\n'
