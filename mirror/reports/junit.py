"""The report as JUnit XML, in the part of it that every reader knows (the schema of Jenkins' xUnit plugin).

A suite for each target of each destination, a case for each package and Python version: covered passes, what breaks
the policy fails, and whatever else has no plain wheel there is skipped. A further suite has what is wrong with the
site, and one what installers said, if they were asked. There is no time and no host in it.
"""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from mirror.coverage import ADVICE, INSTALL_FAILED, problems
from mirror.model import Reason
from mirror.plain import line
from mirror.reports.report import MEANING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mirror.coverage import Coverage, Problem
    from mirror.model import Cell
    from mirror.reports.report import Report


def render(report: Report) -> bytes:
    """The document as UTF-8. No two of its cases have the same class and name: readers show one of them."""
    root = ET.Element("testsuites", name="mirror")
    for coverage in report.coverages:
        at = f" at {coverage.destination}" if len(report.coverages) > 1 else ""
        root.extend(_targets(report, coverage, at))
        root.append(_site(report, coverage, at))
        if coverage.installs:
            root.append(_installs(coverage, at))
    for name in ("tests", "failures", "errors"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in root)))
    ET.indent(root, " ")
    written: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return written + b"\n"


def _targets(report: Report, coverage: Coverage, at: str) -> Iterable[ET.Element]:
    several = len({cell.lock for cell in coverage.cells}) > 1
    for target in dict.fromkeys(cell.target for cell in coverage.cells):
        cells = [cell for cell in coverage.cells if cell.target == target]
        cases = [_case(report, cell, f" of {cell.lock}" if several else "", at) for cell in cells]
        yield _suite(f"{coverage.destination} {target}", cases)


def _case(report: Report, cell: Cell, of: str, at: str) -> ET.Element:
    case = _named(f"{cell.package} {cell.version}{of} on {cell.target}, Python {cell.python}{at}", cell.package)
    said = f"{cell.reason}: {MEANING[cell.reason]}"
    if cell.reason in report.policy:
        texts = (said, cell.detail, ADVICE[cell.reason], report.where(_alone(cell)))
        _add(case, "failure", *texts, type=cell.reason, message=said)
    elif cell.reason is Reason.YANKED:
        _add(case, "system-out", f"{MEANING[cell.reason]}: {cell.detail}")
    elif not cell.reason.covered:
        detail = f" ({cell.detail})" if cell.detail else ""
        _add(case, "skipped", message=f"{said}{detail}")
    return case


def _alone(cell: Cell) -> Problem:
    return problems((cell,))[0]


def _site(report: Report, coverage: Coverage, at: str) -> ET.Element:
    cases = []
    for (code, key), group in groupby(report.findings(coverage), attrgetter("code", "key")):
        if code == INSTALL_FAILED:
            continue  # has a case of its own, among the installers
        found = tuple(group)
        case = _named(f"{code} {key}".strip() + at, "site")
        texts = (*map(str, found), found[0].advice)
        _add(case, "failure", *texts, type=code, message="; ".join(finding.message for finding in found))
        cases.append(case)
    # A suite without any case would read as if nobody had looked.
    return _suite(f"{coverage.destination} site", cases or [_named(f"pages and files agree{at}", "site")])


def _installs(coverage: Coverage, at: str) -> ET.Element:
    cases = []
    for install in coverage.installs:
        place = f"{install.lock} on {install.target}, Python {install.version}"
        case = _named(f"{install.installer} installs {place}{at}", "installers")
        if install.complaint:
            texts = (f"{INSTALL_FAILED}: {install.complaint}",)
            _add(case, "failure", *texts, type=INSTALL_FAILED, message=f"not for {place}")
        cases.append(case)
    return _suite(f"{coverage.destination} installers", cases)


def _suite(name: str, cases: list[ET.Element]) -> ET.Element:
    counts = {kind: sum(case.find(kind) is not None for case in cases) for kind in ("failure", "skipped")}
    suite = ET.Element("testsuite", name=line(name), tests=str(len(cases)), failures=str(counts["failure"]),
                       errors="0", skipped=str(counts["skipped"]))  # fmt: skip
    suite.extend(cases)
    return suite


def _named(name: str, classname: str) -> ET.Element:
    return ET.Element("testcase", name=line(name), classname=line(classname))


def _add(case: ET.Element, tag: str, *texts: str, **attributes: str) -> None:
    element = ET.SubElement(case, tag, {name: line(value) for name, value in attributes.items()})
    element.text = "\n".join(line(text) for text in texts if text) or None
