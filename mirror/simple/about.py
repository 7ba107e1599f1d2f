"""The page for people about one project: what it is, how to install it from here, and every file of it."""

from __future__ import annotations

import re
import shlex
from functools import lru_cache
from html import unescape
from typing import TYPE_CHECKING

from mirror import layout
from mirror.figures import counted, size
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
    from collections.abc import Iterable

    from mirror.model import About, Artifact
    from mirror.simple.held import HeldProject, HeldRelease

DRESS = Dress.of("""
nav{padding-top:1.5rem;font-size:.925rem}
nav+header{padding-top:1.25rem}
.links{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;margin:0;padding:0;list-style:none;max-width:none}
.links a{overflow-wrap:anywhere}
details{margin-top:1rem}summary{cursor:pointer;width:fit-content}details .way{margin-top:.75rem}
#install~.warn{margin:0 0 1rem}
.release{margin-top:2rem}
.release h3{font-size:1.1rem;margin:0}
.release>p{color:var(--soft);font-size:.925rem;margin:.1rem 0 .4rem;max-width:none;overflow-wrap:anywhere}
.release .warn{color:var(--ink);margin:.5rem 0}
.way pre{white-space:pre-wrap;overflow-wrap:anywhere;padding-right:.5rem}
table{table-layout:fixed}
th:nth-child(2){width:10rem}th:nth-child(3){width:11rem}th:nth-child(4){width:5.5rem}th:nth-child(5){width:7rem}
td{font-size:.925rem}
td:nth-child(n+4){text-align:right;color:var(--soft);font-variant-numeric:tabular-nums;white-space:nowrap}
td:first-child a{font-weight:600;overflow-wrap:anywhere}
td:first-child code{display:block;color:var(--soft);font-size:.75rem;overflow-wrap:anywhere}
@media(max-width:60rem){thead{position:absolute;clip-path:inset(50%)}tbody{display:block}
tr{display:flex;flex-wrap:wrap;gap:0 1rem;padding:.65rem 0;border-bottom:1px solid var(--line)}
td{padding:0;border:0}td:first-child{flex-basis:100%}td+td{color:var(--soft);font-size:.875rem}}
""")
"""The style and script of these pages."""

_SYSTEMS = {"manylinux": "Linux", "musllinux": "Linux", "linux": "Linux", "macosx": "macOS", "win": "Windows"}
_PLATFORM = re.compile(r"(manylinux|musllinux|linux|macosx|win)(?:\d+|_\d+_\d+)?_(\w+)", re.ASCII)
_INTERPRETERS = {"py": "Python", "cp": "CPython", "pp": "PyPy"}
_ORDER = ("any platform", "Linux", "macOS", "Windows")
_HEADLINE = 18
"""Characters that a figure can have and still be set in large letters."""
_COLUMNS = (
    '<table>\n<thead><tr><th scope="col">File and sha256</th><th scope="col">Platform</th><th scope="col">For</th>'
    '<th scope="col" class="number">Size</th><th scope="col" class="number">Uploaded</th></tr></thead>\n<tbody>\n'
)
_STATUSES = {
    "archived": "It is archived: its maintainers do not expect to update it again",
    "deprecated": "It is deprecated: its maintainers consider it obsolete",
    "quarantined": "It is quarantined upstream as possibly unsafe; here are still the bytes that the locks pin",
}
"""What the statuses of PEP 792 mean."""


def render(project: HeldProject) -> bytes:
    """The page as HTML5, ASCII only, with relative links. Files are shown newest version first, then by platform."""
    name = escape(project.name)
    about = project.about
    parts = [
        opening(DRESS, f"{name} - Python package mirror", "../"),
        f'<nav><a href="../{layout.FRONT_PAGE}">All projects</a></nav>\n<header>\n',
        f"<h1>{name}{status_tag(project.status.status) if project.status else ''}</h1>\n",
        f'<p class="lead">{foreign(about.summary)}</p>\n' if about and about.summary else "",
        _links(project.name, about),
        _figures(project),
        "</header>\n<main>\n",
        _status(project),
        _install(project),
        '<h2 id="files">Files</h2>\n',
    ]
    parts += [_release(release) for release in project.releases]
    parts += ["</main>\n", closing(DRESS)]
    return ascii_bytes(parts)


def _links(name: str, about: About | None) -> str:
    # Links of strangers learn nothing of where they were followed from, and lend no weight to where they lead.
    others = [
        f'<li><a href="{escape(url)}" rel="noopener noreferrer nofollow">{foreign(label)}</a></li>\n'
        for label, url in (about.links if about else ())
    ]
    simple = f"../{layout.project_page_keys(name)[0]}"
    return f'<ul class="links">\n{"".join(others)}<li><a href="{simple}">Page for installers</a></li>\n</ul>\n'


def _figures(project: HeldProject) -> str:
    about = project.about
    facts = (
        ("newest here", escape(project.newest.version)),
        ("licence, as stated" if about and about.license else "licence", _licence(about)),
        (_files_of(project), f"{project.files:,}"),
        ("in all", size(project.size)),
    )
    rows = "".join(f"<div><dt>{label}</dt><dd{_long(fact)}>{fact}</dd></div>\n" for label, fact in facts)
    return f'<dl class="figures">\n{rows}</dl>\n'


def _long(fact: str) -> str:
    """Smaller letters for what would be a headline of several lines."""
    return ' class="long"' if len(unescape(fact)) > _HEADLINE else ""


def _licence(about: About | None) -> str:
    return foreign(about.license) if about and about.license else "not stated"


def _files_of(project: HeldProject) -> str:
    releases = len(project.releases)
    return f"file{'s' * (project.files != 1)} of {counted(releases, 'version')}"


def _status(project: HeldProject) -> str:
    status = project.status
    if status is None or status.status == "active":
        return ""
    meaning = _STATUSES.get(status.status, f"Upstream states that it is {foreign(status.status)}")
    reason = f" The reason given: {foreign(status.reason)}" if status.reason else ""
    kind = "warn" if status.status == "quarantined" else "tell"
    return f'<p class="{kind}">{meaning}.{reason}</p>\n'


def _install(project: HeldProject) -> str:
    release = project.newest
    # `!` of an epoch is for the shell otherwise.
    pin = escape(shlex.quote(f"{project.name}=={release.version}"))
    ways = (
        ("pip", f"pip install --index-url {INDEX} {pin}"),
        ("uv", f"uv pip install --default-index {INDEX} {pin}"),
        ("Poetry", f"poetry source add --priority=primary mirror {INDEX}\npoetry add --source=mirror {pin}"),
        ("PDM", f"pdm config pypi.url {INDEX}\npdm add {pin}"),
    )
    blocks = "".join(
        f'<section class="way">\n<h3>{tool}</h3>\n{snippet(code, tool)}\n</section>\n' for tool, code in ways
    )
    return (
        f'<h2 id="install">Install {escape(release.version)}{YANKED if release.yanked else ""}</h2>\n'
        f"{_notice(release)}"
        f'<p class="hint">Put the address of this mirror in the place of <mark>{ADDRESS}</mark>.</p>\n'
        f'<div class="ways">\n{blocks}</div>\n{_hashes(project.name, release)}'
    )


def _notice(release: HeldRelease) -> str:
    """Why nobody should begin to use a release, each reason once; nothing while one of its files is not yanked."""
    return "".join(f"{reason}\n" for reason in dict.fromkeys(map(_yanked, release.artifacts))) if release.yanked else ""


def _hashes(name: str, release: HeldRelease) -> str:
    """The line of a requirements file that lets installers take these files and no others."""
    digests = " \\\n".join(f"    --hash=sha256:{artifact.sha256}" for artifact in release.artifacts)
    line = f"{escape(f'{name}=={release.version}')} \\\n{digests}"
    return (
        "<details>\n<summary>With hashes, for <code>pip install --require-hashes -r requirements.txt</code></summary>\n"
        f'<div class="way">\n{snippet(line, "requirements.txt")}\n'
        "<p>What it depends on needs such lines, too; an exported lock has all of them.</p>\n</div>\n</details>\n"
    )


def _release(release: HeldRelease) -> str:
    version, artifacts = escape(release.version), release.artifacts
    pythons = {artifact.requires_python for artifact in artifacts}
    facts = [counted(len(artifacts), "file"), size(release.size)]
    if len(pythons) == 1 and (python := next(iter(pythons))):
        facts.insert(0, f"Requires Python {foreign(python)}")
    rows = "".join(_rows(release, each_python=len(pythons) > 1))
    return (
        f'<section class="release">\n<h3 id="{version}">{version}{YANKED if release.yanked else ""}</h3>\n'
        f"<p>{' &#183; '.join(facts)}</p>\n{_COLUMNS}{rows}</tbody>\n</table>\n</section>\n"
    )


def _rows(release: HeldRelease, *, each_python: bool) -> Iterable[str]:
    labelled = [(_label(artifact.filename), artifact) for artifact in release.artifacts]
    labelled.sort(key=lambda entry: entry[0])
    for (_, platform, interpreter), artifact in labelled:
        name = escape(artifact.filename)
        python = f", requires {foreign(artifact.requires_python)}" if each_python and artifact.requires_python else ""
        yield (
            f'<tr><td><a href="{layout.people_href(artifact.filename)}">{name}</a>'
            f"<code>{artifact.sha256}</code>{_yanked(artifact)}</td>"
            f"<td>{platform}</td><td>{interpreter}{python}</td><td>{size(artifact.size)}</td>"
            f"<td>{_uploaded(artifact.upload_time)}</td></tr>\n"
        )


def _yanked(artifact: Artifact) -> str:
    if artifact.yanked is None:
        return ""
    reason = foreign(artifact.yanked)
    return f'<p class="warn">Yanked upstream{f": {reason}" if reason else ", without a reason"}</p>'


def _uploaded(moment: str) -> str:
    return f'<time datetime="{escape(moment)}">{escape(moment[:10])}</time>' if moment else ""


def _label(filename: str) -> tuple[int, str, str]:
    """Place in the order of platforms, platform and interpreter of a file, as HTML."""
    if not filename.endswith(".whl"):
        return len(_ORDER), "any platform", "source, to be built"
    return _of_tags(*filename[:-4].rsplit("-", 3)[1:])


@lru_cache(maxsize=4096)
def _of_tags(pythons: str, abis: str, platforms: str) -> tuple[int, str, str]:
    platform = _platform(platforms.split("."))
    place = next((place for place, system in enumerate(_ORDER) if platform.startswith(system)), len(_ORDER))
    return place, escape(platform), escape(_interpreter(pythons.split("."), abis.split(".")))


def _platform(tags: list[str]) -> str:
    """The platforms of a wheel's compressed tags: system and machine, each once."""
    if "any" in tags:
        return "any platform"
    named = [_one_platform(tag) for tag in tags]
    return ", ".join(dict.fromkeys(named))


def _one_platform(tag: str) -> str:
    if tag == "win32":
        return "Windows x86"
    match = _PLATFORM.fullmatch(tag)
    if match is None:
        return tag
    return f"{_SYSTEMS[match[1]]} {match[2]}{' (musl)' if match[1] == 'musllinux' else ''}"


def _interpreter(pythons: list[str], abis: list[str]) -> str:
    """The interpreters of a wheel's compressed tags; `abi3` stands for one minor and every later one."""
    later = "+" if "abi3" in abis else ""
    free = " free-threaded" if any(abi.startswith("cp") and abi.endswith("t") for abi in abis) else ""
    return ", ".join(f"{_one_interpreter(python)}{later}{free}" for python in pythons)


def _one_interpreter(tag: str) -> str:
    name, version = tag[:2], tag[2:]
    if name not in _INTERPRETERS or not version.isdecimal():
        return tag
    return f"{_INTERPRETERS[name]} {version[0]}{f'.{version[1:]}' if version[1:] else ''}"
