"""The report as one page for people: what is missing first, the matrix of packages and environments, the sizes.

It is complete without script; the script only filters the matrix, and keeps what was asked for in the address, so that
a filtered view can be shared. Nothing is fetched, and nothing may run but what its policy names by digest.
"""

from __future__ import annotations

import base64
import hashlib
from collections import defaultdict
from dataclasses import dataclass
from html import escape as _quoted
from importlib import resources
from typing import TYPE_CHECKING

from mirror.coverage import floored
from mirror.figures import counted, size
from mirror.model import Reason
from mirror.plain import line
from mirror.reports.report import MEANING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mirror.coverage import Coverage, Finding, Install, Problem, Row
    from mirror.model import Cell
    from mirror.reports.report import Report

_FOREMOST = 12
"""Projects whose size is shown at once; those that follow are folded away."""

_MARKS = {
    Reason.COVERED: ("c", "&#10003;"),
    Reason.YANKED: ("y", "yanked"),
    Reason.EXCLUDED_BY_MARKER: ("m", "&ndash;"),
    Reason.EXCLUDED_BY_PYTHON: ("p", "&ndash;"),
    Reason.SDIST_ONLY: ("s", "sdist"),
    Reason.DIRECT: ("d", "direct"),
    Reason.NO_WHEEL: ("w", "no wheel"),
    Reason.NOT_OFFERED: ("o", "not offered"),
    Reason.DIGEST_MISMATCH: ("x", "digest"),
    Reason.DOWNLOAD_FAILED: ("f", "failed"),
    Reason.NOT_PUBLISHED: ("u", "not published"),
}
"""By reason: the class of its cells, which the script knows too, and what they say."""

_SHARES = (
    ("covered", "covered"),
    ("yanked", "yanked"),
    ("sdist_only", "sdist only"),
    ("direct", "direct"),
    ("holes", "holes"),
)
"""The parts of a target's bar: the figure of the row, and its name."""


def render(report: Report) -> bytes:
    """The page as HTML5 in UTF-8."""
    style, script = _asset("report.css"), _asset("report.js")
    policy = "; ".join(
        (
            "default-src 'none'",
            f"style-src {_digest(style)}",
            f"script-src {_digest(script)}",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    sections = [_section(report, coverage, place) for place, coverage in enumerate(report.coverages)]
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_text(policy)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{report.verdict}: {report.totals.percent} % covered</title>\n"
        f"<style>{style}</style>\n</head>\n<body>\n"
        f"{_header(report)}<main>\n{''.join(sections)}</main>\n{_footer(report)}"
        f"<script>{script}</script>\n</body>\n</html>\n"
    )
    return page.encode()


def _asset(name: str) -> str:
    return resources.files("mirror.reports").joinpath(name).read_text("utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _text(text: str) -> str:
    """Text of unknown origin, for an element or an attribute."""
    return _quoted(line(text))


# --- the page -----------------------------------------------------------------------------------


def _header(report: Report) -> str:
    totals = report.totals
    locks = dict.fromkeys(cell.lock for coverage in report.coverages for cell in coverage.cells)
    what = f" of {', '.join(f'<code>{_text(lock)}</code>' for lock in locks)}" if locks else ""
    figures = [
        (f"{totals.percent} %", f"{totals.covered:,} of {totals.wanted:,} cells covered", False),
        (f"{totals.holes:,}", "hole" if totals.holes == 1 else "holes", bool(totals.holes)),
        (f"{totals.findings:,}", f"finding{'s' * (totals.findings != 1)} on the site", bool(totals.findings)),
        (size(totals.size), f"in {counted(totals.files, 'file')}", False),
    ]
    tiles = "".join(
        f'<div class="{"bad" if bad else "plain"}"><dt>{label}</dt><dd>{figure}</dd></div>\n'
        for figure, label, bad in figures
    )
    return (
        f'<header class="{"good" if report.verified else "bad"}">\n<div class="wrap">\n'
        f'<h1>{report.verdict}</h1>\n<p class="lead">What the mirror offers{what}: every locked package, '
        f'in every environment that was asked for.</p>\n<dl class="tiles">\n{tiles}</dl>\n</div>\n</header>\n'
    )


def _footer(report: Report) -> str:
    policy = ", ".join(f"<code>{reason}</code>" for reason in sorted(report.policy)) or "no reason at all"
    meanings = "".join(
        f'<div><dt><span class="mark {key}">{mark}</span> <code>{reason}</code></dt><dd>{MEANING[reason]}</dd></div>\n'
        for reason, (key, mark) in _MARKS.items()
    )
    return (
        '<footer>\n<div class="wrap">\n<h2>What the words mean</h2>\n'
        f'<dl class="legend">\n{meanings}</dl>\n<p>A cell is a failure here for {policy}.</p>\n</div>\n</footer>\n'
    )


def _section(report: Report, coverage: Coverage, place: int) -> str:
    name = f"<code>{_text(coverage.destination)}</code>"
    release = f"release <code>{_text(coverage.release)}</code>" if coverage.release else "nothing is published there"
    state = "good" if coverage.verified(report.policy) else "bad"
    word = "verified" if state == "good" else "not verified"
    return (
        f'<section class="wrap" aria-labelledby="d{place}">\n'
        f'<h2 id="d{place}">{name} <span class="tag {state}">{word}</span></h2>\n<p class="soft">{release}</p>\n'
        f"{_problems(report, coverage)}{_findings(report, coverage)}{_targets(coverage)}"
        f"{_matrix(report, coverage, place)}{_sizes(coverage)}{_remarks(report, coverage)}{_installs(coverage)}"
        "</section>\n"
    )


# --- what is wrong ------------------------------------------------------------------------------


def _problems(report: Report, coverage: Coverage) -> str:
    failures = report.failures(coverage)
    if not failures:
        return '<p class="fine">No package lacks anything.</p>\n' if coverage.cells else ""
    items = "".join(_problem(report, problem) for problem in failures)
    title = f"{counted(len(failures), 'package lacks', 'packages lack')} something"
    return f'<h3>{title}</h3>\n<ul class="cards">\n{items}</ul>\n'


def _problem(report: Report, problem: Problem) -> str:
    key, _ = _MARKS[problem.reason]
    detail = f'<p class="detail">{_text(problem.detail)}</p>' if problem.detail else ""
    return (
        f"<li><p><strong>{_text(problem.package)}</strong> {_text(problem.version)} "
        f'<span class="mark {key} bad">{problem.reason}</span></p>'
        f"<p>{MEANING[problem.reason].capitalize()}: {_text(problem.places)}</p>{detail}"
        f'<p class="soft">To do: {_advice(problem.advice)}. <code>{_text(report.where(problem))}</code></p></li>\n'
    )


def _advice(text: str) -> str:
    """Our own words, in which commands stand between backticks."""
    words = _text(text).split("`")
    return "".join(f"<code>{word}</code>" if place % 2 else word for place, word in enumerate(words))


def _findings(report: Report, coverage: Coverage) -> str:
    findings = report.findings(coverage)
    if not findings:
        return ""
    items = "".join(map(_finding, findings))
    return f'<h3>{counted(len(findings), "finding")} on the site</h3>\n<ul class="cards">\n{items}</ul>\n'


def _finding(finding: Finding) -> str:
    key = f" <code>{_text(finding.key)}</code>" if finding.key else ""
    return (
        f'<li><p><span class="mark bad">{_text(finding.code)}</span>{key}</p><p>{_text(finding.message)}</p>'
        f'<p class="soft">To do: {_advice(finding.advice)}.</p></li>\n'
    )


def _remarks(report: Report, coverage: Coverage) -> str:
    remarks = report.remarks(coverage)
    rows = "".join(
        f'<tr><th scope="row">{_text(problem.package)} <span>{_text(problem.version)}</span></th>'
        f"<td>{problem.reason}</td><td>{_text(problem.places)}</td><td>{_text(problem.detail)}</td></tr>\n"
        for problem in remarks
    )
    title = f"{counted(len(remarks), 'remark')} that the policy lets pass"
    return _folded(title, ("package", "reason", "where", "detail"), rows) if remarks else ""


def _installs(coverage: Coverage) -> str:
    good = sum(not install.complaint for install in coverage.installs)
    title = f"{good:,} of {counted(len(coverage.installs), 'dry run')} by installers succeeded"
    rows = "".join(map(_install, coverage.installs))
    headings = ("installer", "lock", "environment", "packages", "result")
    return _folded(title, headings, rows, numeric=("packages",)) if coverage.installs else ""


def _install(install: Install) -> str:
    return (
        f'<tr><th scope="row">{_text(install.installer)}</th><td>{_text(install.lock)}</td>'
        f'<td>{_text(install.target)} {_text(install.version)}</td><td class="n">{install.packages:,}</td>'
        f"<td>{_text(install.complaint) or 'all found'}</td></tr>\n"
    )


def _folded(title: str, headings: Sequence[str], rows: str, numeric: Iterable[str] = ()) -> str:
    return f"<details>\n<summary>{title}</summary>\n{_table(headings, rows, numeric)}</details>\n"


def _table(headings: Sequence[str], rows: str, numeric: Iterable[str] = ()) -> str:
    heads = "".join(f'<th scope="col" class="{"n" if head in numeric else "t"}">{head}</th>' for head in headings)
    return f'<div class="scroll"><table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n'


# --- the figures by target and by project -------------------------------------------------------


def _targets(coverage: Coverage) -> str:
    rows = "".join(map(_target, coverage.rows))
    headings = ("target", "share of the wanted cells", "covered", "holes", "sdist only", "yanked", "excluded")
    return f"<h3>By target</h3>\n{_table(headings, rows, headings[2:])}{_key(coverage)}" if rows else ""


def _key(coverage: Coverage) -> str:
    """What the colours of the bars mean, of those that there are."""
    drawn = [name for field, name in _SHARES if any(getattr(row, field) for row in coverage.rows)]
    items = "".join(f"<li>{_swatch(name)} {name}</li>\n" for name in drawn)
    return f'<ul class="key">\n{items}</ul>\n' if items else ""


def _swatch(name: str) -> str:
    return f'<svg viewBox="0 0 1 1" aria-hidden="true" focusable="false">{_part(name, 0, 1)}</svg>'


def _part(name: str, start: float, width: float) -> str:
    return f'<rect class="{name.split(maxsplit=1)[0]}" x="{start:.4g}" width="{width:.4g}" height="1"/>'


def _target(row: Row) -> str:
    shares, start = [], 0.0
    for field, name in _SHARES:
        count = getattr(row, field) - (row.yanked if field == "covered" else 0)
        width = 100 * count / row.wanted if row.wanted else 0.0
        if count:
            shares.append(_part(name, start, width))
        start += width
    percent = f"{floored(row.percent)} %" if row.wanted else "none wanted"
    figures = (f"{row.covered:,} of {row.wanted:,}", row.holes, row.sdist_only, row.yanked, row.excluded)
    cells = "".join(f'<td class="n">{figure or "&ndash;"}</td>' for figure in figures)
    return (
        f'<tr><th scope="row">{_text(row.target)}</th><td class="measure">{_bar("".join(shares))}'
        f"<span>{percent}</span></td>{cells}</tr>\n"
    )


def _sizes(coverage: Coverage) -> str:
    if not coverage.total.files:
        return ""
    targets = _bars([(row.target, row.files, row.size) for row in coverage.rows], "target")
    projects = _projects(coverage)
    foremost = _bars(projects[:_FOREMOST], "project", projects[0][2])
    rest = projects[_FOREMOST:]
    more = f"<details>\n<summary>{counted(len(rest), 'more project')}</summary>\n" if rest else ""
    more += f"{_bars(rest, 'project', projects[0][2])}</details>\n" if rest else ""
    return (
        f'<h3>Sizes</h3>\n<div class="pair">\n<div>\n<h4>By target</h4>\n{targets}'
        f'<p class="soft">A platform\'s row has the files that are built for it; noarch has those that all share.</p>\n'
        f"</div>\n<div>\n<h4>By project</h4>\n{foremost}{more}</div>\n</div>\n"
    )


def _projects(coverage: Coverage) -> list[tuple[str, int, int]]:
    """Name, files and bytes of each project, the largest first."""
    used: dict[str, set[str]] = defaultdict(set)
    for cell in coverage.cells:
        if cell.filename:
            used[cell.package].add(cell.filename)
    found = [(name, len(files), sum(coverage.sizes.get(file, 0) for file in files)) for name, files in used.items()]
    return sorted(found, key=lambda project: (-project[2], project[0]))


def _bars(entries: Sequence[tuple[str, int, int]], what: str, largest: int = 0) -> str:
    largest = largest or max((amount for _, _, amount in entries), default=0)
    rows = "".join(_amount(*entry, largest) for entry in entries)
    return _table((what, "share of the largest", "size", "files"), rows, ("size", "files"))


def _amount(name: str, files: int, amount: int, largest: int) -> str:
    width = 100 * amount / largest if largest else 0
    bar = _bar(f'<rect class="amount" width="{width:.4g}" height="1"/>')
    return (
        f'<tr><th scope="row">{_text(name)}</th><td class="measure">{bar}</td>'
        f'<td class="n">{size(amount)}</td><td class="n">{files:,}</td></tr>\n'
    )


def _bar(parts: str) -> str:
    # The figures stand beside it, so it has nothing to say to those who listen.
    return f'<svg viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true" focusable="false">{parts}</svg>'


# --- the matrix ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Grid:
    """Cells by package and environment."""

    environments: tuple[tuple[str, str], ...]
    """Target and Python, in columns."""
    rows: dict[tuple[str, str, str], dict[tuple[str, str], Cell]]
    """By lock, package and version."""


def _grid(cells: Iterable[Cell]) -> _Grid:
    rows: dict[tuple[str, str, str], dict[tuple[str, str], Cell]] = defaultdict(dict)
    pythons: dict[str, set[str]] = defaultdict(set)
    for cell in cells:
        rows[cell.lock, cell.package, cell.version][cell.target, cell.python] = cell
        pythons[cell.target].add(cell.python)
    environments = tuple((target, minor) for target, minors in pythons.items() for minor in sorted(minors, key=_minor))
    return _Grid(environments, rows)


def _minor(text: str) -> tuple[int, str]:
    return int(text.rpartition(".")[2]) if text.rpartition(".")[2].isdecimal() else 0, text


def _matrix(report: Report, coverage: Coverage, place: int) -> str:
    grid = _grid(coverage.cells)
    if not grid.rows:
        return ""
    several = len({lock for lock, _, _ in grid.rows}) > 1
    failing = {
        name for name, cells in grid.rows.items() if any(cell.reason in report.policy for cell in cells.values())
    }
    order = sorted(grid.rows, key=lambda name: (name not in failing, name[1], name[2], name[0]))
    rows = "".join(_packages_row(report, grid, name, several=several) for name in order)
    targets: dict[str, int] = {}
    for target, _ in grid.environments:
        targets[target] = targets.get(target, 0) + 1
    groups = "".join(f'<th scope="col" colspan="{count}">{_text(name)}</th>' for name, count in targets.items())
    columns = "".join(f'<th scope="col">{_text(python)}</th>' for _, python in grid.environments)
    return (
        f'<h3 id="m{place}">Every package, every environment</h3>\n'
        f'<div class="matrix">\n{_filters(grid, coverage)}'
        f'<div class="scroll tall" tabindex="0" role="region" aria-labelledby="m{place}"><table>\n'
        f'<thead><tr><th scope="col" rowspan="2">package</th>{groups}</tr>\n<tr>{columns}</tr></thead>\n'
        f"<tbody>\n{rows}</tbody>\n</table></div>\n</div>\n"
    )


def _packages_row(report: Report, grid: _Grid, name: tuple[str, str, str], *, several: bool) -> str:
    lock, package, version = name
    cells = grid.rows[name]
    of = f" <small>{_text(lock)}</small>" if several else ""
    marks = "".join(_mark(report, cells.get(environment)) for environment in grid.environments)
    return f'<tr><th scope="row"><div>{_text(package)} <span>{_text(version)}</span>{of}</div></th>{marks}</tr>\n'


def _mark(report: Report, cell: Cell | None) -> str:
    if cell is None:
        return "<td></td>"
    key, mark = _MARKS[cell.reason]
    return f'<td class="{key}{" bad" if cell.reason in report.policy else ""}">{mark}</td>'


def _filters(grid: _Grid, coverage: Coverage) -> str:
    """Controls, which only a script can answer to, and which it therefore shows."""
    reasons = {cell.reason for cell in coverage.cells}
    states = [("", "any state"), ("bad", "failing")]
    states += [(_MARKS[reason][0], str(reason)) for reason in Reason if reason in reasons]
    targets = dict.fromkeys(target for target, _ in grid.environments)
    pythons = sorted({python for _, python in grid.environments}, key=_minor)
    chosen = (
        ("state", "State", states),
        ("target", "Target", [("", "every target"), *((target, target) for target in targets)]),
        ("python", "Python", [("", "every Python"), *((python, python) for python in pythons)]),
    )
    selects = "".join(
        f'<label>{label} <select name="{name}">'
        + "".join(f'<option value="{_text(value)}">{_text(shown)}</option>' for value, shown in choices)
        + "</select></label>\n"
        for name, label, choices in chosen
    )
    count = counted(len(grid.rows), "package")
    return (
        f'<form class="filters" aria-label="Filter" hidden>\n<label>Search <input type="search" name="search" '
        f'placeholder="package" autocomplete="off" spellcheck="false"></label>\n{selects}'
        f'<button type="reset">Show all</button>\n</form>\n<p class="soft shown" role="status">{count}</p>\n'
    )
