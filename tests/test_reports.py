"""Reports: every form says the same, is read back by a strict reader, and takes text of unknown origin as text."""

from __future__ import annotations

import hashlib
import html
import json
import os
import random
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import pytest
from packaging.utils import canonicalize_name

from mirror.coverage import ADVICE, Coverage, Finding, Install
from mirror.errors import MirrorError
from mirror.model import HOLES, Cell, Reason
from mirror.plain import line
from mirror.reports import codequality, github, junit, markdown
from mirror.reports import html as page
from mirror.reports import json as document
from mirror.reports.forms import FORMS, form_of
from mirror.reports.report import LockedLines, Report
from mirror.reports.summary import LIMIT

TARGETS = ("linux-x86_64", "macos-arm64")
PYTHONS = ("3.9", "3.10")
SUFFIXES = (".json", ".xml", ".md", ".html", ".codequality.json")

HOSTILE = {
    "markup": "</code></td><script>alert(1)</script><b onmouseover='x'>",
    "attribute": '" onload="alert(1)" x=\'',
    "comment": "--><!-- ]]> <![CDATA[ &amp; &#60; &lt;",
    "table": "a | b \\| c `d` *e* _f_ [g](https://evil.example) ![h](i) ~j~",
    "link": "https://evil.example www.evil.example someone@evil.example @team #1",
    "command": "x\n::error file=a::forged\n::set-output name=verified::true",
    "old-command": "x ##[error]forged ##vso[task.setvariable variable=a]b ##teamcity[c]",
    "quoted-command": "%0A::error::forged%25",
    "terminal": "\x1b[31mred\x1b[0m \x07 \x00 \x9b",
    "right-to-left": "a\u202eb\u2066c\u061cd\u200fe",
    "lone-surrogate": "a\udc80b",
    "noncharacter": "a\ufffeb\uffffc\U0001ffffd",
    "separators": "a\u2028b\x85c\rd\x0be",
    "other-scripts": "naïve 日本語 🎉",
}


def cell(
    package: str, reason: Reason = Reason.COVERED, target: str = TARGETS[0], python: str = "3.10", **more: str
) -> Cell:
    named = more.pop("filename", f"{package.replace('-', '_')}-1.0-py3-none-any.whl" if reason.covered else "")
    return Cell(
        lock=more.pop("lock", "poetry.lock"),
        package=canonicalize_name(package),
        version="1.0",
        target=target,
        python=python,
        reason=reason,
        filename=named,
        **more,
    )


def everywhere(package: str, reason: Reason = Reason.COVERED, **more: str) -> list[Cell]:
    return [cell(package, reason, target, python, **more) for target in TARGETS for python in PYTHONS]


def covering(*cells: Cell, destination: str = "./site", **more: Any) -> Coverage:
    sizes = {item.filename: 1000 * len(item.filename) for item in cells if item.filename}
    facts = {"release": "000007-0123456789ab", "findings": (), "sizes": sizes, **more}
    return Coverage(destination=destination, cells=cells, **facts)


def lines(*packages: str, label: str = "poetry.lock", path: str = "app/poetry.lock") -> LockedLines:
    return LockedLines(label=label, path=path, lines={(name, "1.0"): 10 * (n + 1) for n, name in enumerate(packages)})


FINDING = Finding("forms-disagree", "simple/alpha/index.html", "the HTML and the JSON do not say the same")
INSTALLS = tuple(
    Install(
        lock="poetry.lock", target="linux-x86_64", python="3.10", version="3.10.0", installer=installer, packages=3,
        complaint=complaint,
    )
    for installer, complaint in (("pip 26.3", ""), ("uv 0.13", "No solution found"))
)  # fmt: skip


def of_every_kind(**more: Any) -> Report:
    """One package for each reason, everywhere, one of the holes with a detail, a finding and two dry runs."""
    cells = [item for reason in Reason for item in everywhere(f"p-{reason}", reason)]
    cells += everywhere("alpha")
    cells += [cell("beta"), cell("beta", Reason.NOT_OFFERED, TARGETS[1], detail="the index has other files")]
    coverage = covering(*cells, findings=(FINDING,), installs=INSTALLS)
    packages = (*(f"p-{reason}" for reason in Reason), "alpha", "beta")
    return Report(**{"coverages": (coverage,), "locks": (lines(*packages),), **more})


def good() -> Report:
    return Report(coverages=(covering(*everywhere("alpha"), *everywhere("beta")),), locks=(lines("alpha", "beta"),))


def spoken(text: str) -> Report:
    """A report in which everything that comes from elsewhere says `text`."""
    wrong = [cell("alpha", reason, python=f"3.{number}", detail=text, lock=text)
             for number, reason in enumerate(Reason)]  # fmt: skip
    wrong += [
        replace(item, package=canonicalize_name(text), version=text, target=text, python=text, filename="")
        for item in wrong
    ]
    tried = replace(INSTALLS[1], installer=text, target=text, lock=text, complaint=text)
    facts: dict[str, Any] = {"findings": (Finding(text, text, text),), "installs": (tried,)}
    coverage = covering(*wrong, destination=text, release=text, **facts)
    return Report(coverages=(coverage,), locks=(LockedLines(label=text, path=text, lines={("alpha", "1.0"): 5}),))


# --- the report itself --------------------------------------------------------------------------


def test_what_should_be_looked_at_first_stands_first() -> None:
    report = of_every_kind()
    order = [problem.reason for problem in report.failures(report.coverages[0])]
    assert order[0] is Reason.DIGEST_MISMATCH
    assert set(order) == HOLES
    assert [str(problem.reason) for problem in report.remarks(report.coverages[0])] == [
        "sdist-only",
        "direct",
        "yanked",
    ]


def test_the_figures_count_files_once_and_cells_at_every_destination() -> None:
    one = good().coverages[0]
    report = Report(coverages=(one, replace(one, destination="s3://mirror")))
    totals = report.totals
    assert (totals.covered, totals.wanted) == (16, 16)
    assert totals.files == 2
    assert totals.size == sum(one.sizes.values())
    assert totals.percent == "100.0"


def test_one_destination_with_a_finding_is_enough_to_fail() -> None:
    one = good().coverages[0]
    assert Report(coverages=(one, one)).verified
    assert not Report(coverages=(one, replace(one, findings=(FINDING,)))).verified


def test_where_the_line_is_not_known_it_is_the_first() -> None:
    report = of_every_kind(locks=())
    problem = report.failures(report.coverages[0])[0]
    assert report.where(problem) == "poetry.lock:1"


# --- what holds for every form ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("report.json", "JSON"),
        ("REPORT.JSON", "JSON"),
        ("a.b.xml", "JUnit"),
        ("summary.md", "Markdown"),
        ("index.html", "a page for people"),
        ("mirror.codequality.json", "GitLab code quality"),
        ("gl-code-quality-report.json", "GitLab code quality"),
    ],
)
def test_the_name_of_a_file_says_its_form(name: str, what: str) -> None:
    assert form_of(name).what == what


@pytest.mark.parametrize("name", ["report", "report.txt", ".json.bak", "html", "report.yaml"])
def test_a_name_that_says_no_form_is_refused_with_those_that_do(name: str) -> None:
    with pytest.raises(MirrorError) as caught:
        form_of(name)
    assert caught.value.exit_code == 2
    assert name in str(caught.value)
    assert all(form.what in caught.value.hint for form in FORMS)
    assert all(suffix in caught.value.hint for suffix in SUFFIXES)


_DIGESTS = """
import hashlib
from tests.test_reports import SUFFIXES, form_of, of_every_kind
for suffix in SUFFIXES:
    print(hashlib.sha256(form_of(suffix).render(of_every_kind())).hexdigest())
"""


def test_the_same_report_is_the_same_bytes_in_every_process() -> None:
    """DESIGN rule 9: no clock, no host path, no order of chance."""
    root = Path(__file__).resolve().parent.parent
    said = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", _DIGESTS], env=environment, cwd=os.sep, check=True,
                              capture_output=True, text=True)  # fmt: skip
        said.add(done.stdout)
    here = [hashlib.sha256(form_of(suffix).render(of_every_kind())).hexdigest() for suffix in SUFFIXES]
    assert said == {"\n".join((*here, ""))}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_nothing_at_all_is_a_report_too(suffix: str) -> None:
    nothing = Coverage(destination="./site", release="", cells=(), findings=(), sizes={})
    for coverages in ((), (nothing,)):
        assert form_of(suffix).render(Report(coverages=coverages))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_form_names_what_is_wrong_and_what_to_do(suffix: str) -> None:
    """DESIGN 3.4: every failed package is named, with what to do."""
    report = of_every_kind()
    text = html.unescape(form_of(suffix).render(report).decode())
    for problem in report.failures(report.coverages[0]):
        assert problem.package in text
        if suffix != ".json":  # which leaves words to its readers
            assert line(ADVICE[problem.reason]) in re.sub(r"</?code>", "`", text.replace("<wbr>", ""))
    assert FINDING.message in text
    assert "No solution found" in text or suffix == ".codequality.json"


# --- JSON ---------------------------------------------------------------------------------------


def closed(schema: Any) -> Any:
    """The schema, refusing every field that it does not document."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: closed(value) for key, value in schema.items()}
    return {**inner, "additionalProperties": False} if isinstance(schema.get("properties"), dict) else inner


@pytest.mark.parametrize("report", [of_every_kind(), good(), Report(coverages=())], ids=["bad", "good", "empty"])
def test_json_is_what_the_schema_documents(report: Report) -> None:
    schema = document.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(closed(schema)).validate(json.loads(document.render(report)))


def test_the_schema_knows_every_reason_and_demands_every_field() -> None:
    schema = document.schema()
    assert set(schema["$defs"]["reason"]["enum"]) == set(Reason)
    for part in (schema, *schema["$defs"].values()):
        assert set(part.get("required", ())) == set(part.get("properties", ()))


def test_a_reader_of_this_format_is_not_broken_by_a_new_field() -> None:
    told = json.loads(document.render(good()))
    told["destinations"][0]["cells"][0]["colour"] = "green"
    jsonschema.validate(told, document.schema())
    told["format"] = 2
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(told, document.schema())


def test_json_holds_every_destination_cell_and_line() -> None:
    report = of_every_kind()
    told = json.loads(document.render(report))
    assert told["verified"] is False
    assert told["policy"] == sorted(HOLES)
    assert len(told["destinations"][0]["cells"]) == len(report.coverages[0].cells)
    assert {"package": "alpha", "version": "1.0", "line": report.locks[0].lines["alpha", "1.0"]} in (
        told["locks"][0]["packages"]
    )
    assert document.render(good()).isascii()


# --- JUnit --------------------------------------------------------------------------------------

# What the schema of Jenkins' xUnit plugin allows, which is the strictest one in use: attributes, then children.
STRICT: dict[str, tuple[set[str], set[str]]] = {
    "testsuites": ({"name", "time", "tests", "failures", "errors"}, {"testsuite"}),
    "testsuite": (
        {"name", "tests", "failures", "errors", "group", "time", "skipped", "timestamp", "hostname", "id", "package"},
        {"testcase", "properties", "system-out", "system-err"},
    ),
    "testcase": ({"name", "time", "classname", "group"}, {"skipped", "error", "failure", "system-out", "system-err"}),
    "failure": ({"type", "message"}, set()),
    "skipped": ({"type", "message"}, set()),
    "system-out": (set(), set()),
}


def read_strictly(data: bytes) -> ET.Element:
    root = ET.fromstring(data)
    for element in root.iter():
        attributes, children = STRICT[element.tag]
        assert set(element.attrib) <= attributes
        assert {child.tag for child in element} <= children
    total: Counter[str] = Counter()
    for suite in root:
        counted = {
            "tests": len(suite),
            "failures": len(suite.findall("testcase/failure")),
            "errors": 0,
            "skipped": len(suite.findall("testcase/skipped")),
        }
        assert {name: int(suite.attrib[name]) for name in counted} == counted
        total.update({name: count for name, count in counted.items() if name != "skipped"})
    names = [(case.attrib["classname"], case.attrib["name"]) for case in root.iter("testcase")]
    assert len(names) == len(set(names)), "a case hides another"
    assert {name: int(root.attrib[name]) for name in ("tests", "failures", "errors")} == {
        name: total[name] for name in ("tests", "failures", "errors")
    }
    return root


def test_junit_has_a_suite_for_each_target_and_a_case_for_each_package_and_python() -> None:
    report = of_every_kind()
    root = read_strictly(junit.render(report))
    suites = {suite.attrib["name"]: suite for suite in root}
    assert list(suites) == ["./site linux-x86_64", "./site macos-arm64", "./site site", "./site installers"]
    for target in TARGETS:
        wanted = sum(item.target == target for item in report.coverages[0].cells)
        assert len(suites[f"./site {target}"]) == wanted


def outcome(case: ET.Element) -> str:
    return next((child.tag for child in case), "passed")


@pytest.mark.parametrize("policy", [HOLES, frozenset({Reason.SDIST_ONLY, Reason.YANKED}), frozenset()])
def test_junit_judges_by_the_policy(policy: frozenset[Reason]) -> None:
    root = read_strictly(junit.render(of_every_kind(policy=policy)))
    suite = next(suite for suite in root if suite.attrib["name"] == "./site linux-x86_64")
    found = {case.attrib["classname"]: outcome(case) for case in suite}
    for reason in Reason:
        expected = "failure" if reason in policy else "passed" if reason is Reason.COVERED else "skipped"
        if reason is Reason.YANKED and reason not in policy:
            expected = "system-out"
        assert found[f"p-{reason}"] == expected, reason


def test_a_junit_failure_says_why_what_to_do_and_where() -> None:
    root = read_strictly(junit.render(of_every_kind()))
    failure = next(case for case in root.iter("testcase") if case.attrib["classname"] == "beta" and len(case))[0]
    assert failure.attrib["type"] == "not-offered"
    assert failure.text is not None
    assert failure.text.splitlines() == [
        "not-offered: locked, and the index no longer lists it", "the index has other files",
        ADVICE[Reason.NOT_OFFERED], f"app/poetry.lock:{10 * (len(Reason) + 2)}"
    ]  # fmt: skip


def test_a_junit_case_names_its_environment_for_readers_who_show_no_suite() -> None:
    """GitLab shows the class, the name, and the text of a failure."""
    root = read_strictly(junit.render(of_every_kind()))
    names = {case.attrib["name"] for case in root.iter("testcase") if case.attrib["classname"] == "beta"}
    assert names == {"beta 1.0 on linux-x86_64, Python 3.10", "beta 1.0 on macos-arm64, Python 3.10"}
    assert all((failure.text or "").startswith(failure.attrib["type"]) for failure in root.iter("failure"))


def test_junit_tells_destinations_patch_releases_and_findings_of_one_place_apart() -> None:
    one = of_every_kind().coverages[0]
    more = (replace(INSTALLS[0], version="3.10.9"), replace(INSTALLS[0], lock="tools/poetry.lock"))
    one = replace(one, findings=(FINDING, replace(FINDING, message="and more")), installs=(*INSTALLS, *more))
    root = read_strictly(junit.render(Report(coverages=(one, replace(one, destination="s3://mirror")))))
    texts = [failure.text or "" for failure in root.iter("failure") if failure.attrib["type"] == FINDING.code]
    assert len(texts) == 2
    assert all(FINDING.message in text and "and more" in text for text in texts)


def test_junit_counts_a_dry_run_that_failed_once() -> None:
    finding = Finding("install-failed", "linux-x86_64 3.10", "No solution found")
    coverage = replace(of_every_kind().coverages[0], findings=(FINDING, finding))
    root = read_strictly(junit.render(Report(coverages=(coverage,))))
    assert [failure.attrib["type"] for failure in root.iter("failure")].count("install-failed") == 1


def test_junit_tells_two_locks_apart() -> None:
    cells = [*everywhere("alpha"), *everywhere("alpha", lock="tools/poetry.lock")]
    root = read_strictly(junit.render(Report(coverages=(covering(*cells),))))
    assert sum("tools/poetry.lock" in case.attrib["name"] for case in root.iter("testcase")) == 4


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_junit_takes_text_as_text(text: str) -> None:
    coverage = covering(cell("alpha", Reason.NOT_OFFERED, detail=text), findings=(Finding("broken", "key", text),))
    root = read_strictly(junit.render(Report(coverages=(coverage,))))
    texts = ["".join((failure.text or "", failure.attrib["message"])) for failure in root.iter("failure")]
    assert len(texts) == 2
    assert all(line(text) in line(said) for said in texts)
    ET.fromstring(junit.render(spoken(text)))


# --- Markdown -----------------------------------------------------------------------------------


def rows(text: str) -> list[list[str]]:
    """Every row of every table, its cells as a reader sees them; a row that breaks its table is an error."""
    found: list[list[str]] = []
    width = 0
    for row in text.splitlines():
        if not row.startswith("|"):
            width = 0
            continue
        cells = row.removeprefix("|").removesuffix("|").split("|")
        assert width in (0, len(cells)), row
        width = len(cells)
        found.append([html.unescape(re.sub(r"<[a-z/]+>", "", item)).strip() for item in cells])
    return found


def test_markdown_begins_with_the_verdict_and_folds_what_is_long() -> None:
    text = markdown.render(of_every_kind()).decode()
    first = html.unescape(text.splitlines()[0])
    assert first.startswith("### ❌ Not verified: ")
    assert "hole" in first
    assert "1 finding" in first
    folds = re.findall(r"<details( open)?><summary>(?:<b>)?([^<]+)", text)
    assert [bool(is_open) for is_open, _ in folds] == [True, True, False, False]
    assert text.count("</details>") == len(folds) == 4
    table = rows(text)
    assert [row[0] for row in table[2:5]] == ["linux-x86_64", "macos-arm64", "noarch"]


def test_markdown_of_a_good_report_is_a_verdict_and_a_table() -> None:
    text = markdown.render(good()).decode()
    assert html.unescape(text).startswith("### ✅ Verified: 8 of 8 cells covered (100.0 %)")
    assert "<details" not in text
    assert len(text) < 1000


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_markdown_takes_text_as_text(text: str) -> None:
    coverage = covering(cell("alpha", Reason.NOT_OFFERED, detail=text), findings=(Finding("broken", "key", text),))
    rendered = markdown.render(Report(coverages=(coverage,))).decode("ascii")
    said = [item for row in rows(rendered) for item in row if line(text) in item]
    assert len(said) == 2
    for whole in (rendered, markdown.render(spoken(text)).decode("ascii")):
        assert set(re.findall(r"<[^>]*>", whole)) <= {
            *("<code>", "</code>", "<b>", "</b>", "<br>", "<wbr>"),
            *("<details>", "<details open>", "</details>", "<summary>", "</summary>"),
        }
        assert not re.search(r"[*~\[\]!\\@`_<>]", re.sub(r"<[a-z /]+>", "", whole)), "it may be read as markup"
        assert not re.search(r"\w://|www\.|\w@\w", html.unescape(whole), re.IGNORECASE), "it would become a link"
        rows(whole)


def many(count: int, detail: str) -> Report:
    """More to say than a summary takes."""
    cells = [cell(f"project-{number:05}", Reason.NO_WHEEL, detail=f"{detail} {number}") for number in range(count)]
    remarks = [cell(f"other-{number:05}", Reason.SDIST_ONLY, detail=detail) for number in range(count)]
    findings = tuple(Finding("missing", f"packages/{number:05}", detail) for number in range(count))
    return Report(coverages=(covering(*cells, *remarks, findings=findings),))


def test_markdown_is_cut_below_the_limit_and_says_by_how_much() -> None:
    data = markdown.render(many(3000, "x" * 300))
    assert LIMIT - (8 << 10) < len(data) < LIMIT
    text = data.decode()
    left = [int(number.replace(",", "")) for number in re.findall(r"^([\d,]+) more left out", text, re.MULTILINE)]
    shown = Counter(row[0].split("-")[0] for row in rows(text) if re.search(r"-\d{5}|^missing", row[0]))
    assert shown["project"] + shown["missing"] + shown["other"] + sum(left) == 9000
    assert shown["other"] == 0, "what is of less weight is left out first"
    assert abs(shown["project"] - shown["missing"]) < 600, "packages and findings are shown side by side"
    assert min(shown["project"], shown["missing"]) > 900


@pytest.mark.parametrize("limit", [-5, 0, 10, 1100, 1500, 3000, 20_000])
def test_markdown_keeps_to_any_limit(limit: int) -> None:
    """A step's summary may be nearly full when it comes to us."""
    data = markdown.render(many(100, "detail"), limit)
    assert len(data) <= max(limit, 0)
    assert not data or data.startswith(b"### ")


# --- GitLab's code quality ----------------------------------------------------------------------


def test_code_quality_is_what_gitlab_reads() -> None:
    """GitLab: description, check_name, fingerprint, severity, location.path, location.lines.begin."""
    issues = json.loads(codequality.render(of_every_kind()))
    fingerprints = [issue["fingerprint"] for issue in issues]
    assert len(set(fingerprints)) == len(fingerprints)
    for issue in issues:
        assert set(issue) == {"description", "check_name", "fingerprint", "severity", "location"}
        assert issue["severity"] in ("info", "minor", "major", "critical", "blocker")
        assert issue["location"]["path"] == "app/poetry.lock"
        assert issue["location"]["lines"]["begin"] >= 1
    severity = {issue["check_name"]: issue["severity"] for issue in issues}
    assert severity == {
        "digest-mismatch": "blocker", "not-offered": "major", "no-wheel": "major", "download-failed": "major",
        "not-published": "major", "forms-disagree": "critical", "sdist-only": "info", "direct": "info",
        "yanked": "minor",
    }  # fmt: skip


def test_a_problem_keeps_its_fingerprint_when_it_moves_in_the_lock() -> None:
    moved = of_every_kind(locks=(replace(lines(), lines={("beta", "1.0"): 999}),))
    before, after = (
        {issue["fingerprint"] for issue in json.loads(codequality.render(report))}
        for report in (of_every_kind(), moved)
    )
    assert before == after


def test_a_problem_keeps_its_fingerprint_at_another_address() -> None:
    """A merge request is verified at the address of the mirror, its branch in the bucket: nothing of it is new."""
    one = of_every_kind().coverages[0]
    reports = [Report(coverages=(replace(one, destination=name),)) for name in ("s3://bucket", "https://m.example/")]
    (first, second) = ([issue["fingerprint"] for issue in json.loads(codequality.render(it))] for it in reports)
    assert first == second


def test_what_is_wrong_at_two_destinations_is_one_issue_that_names_both() -> None:
    one = of_every_kind().coverages[0]
    report = of_every_kind(coverages=(one, replace(one, destination="s3://mirror")))
    issues = json.loads(codequality.render(report))
    assert len({issue["fingerprint"] for issue in issues}) == len(issues)
    assert len(issues) == len(json.loads(codequality.render(of_every_kind())))
    assert all("./site" in issue["description"] and "s3://mirror" in issue["description"] for issue in issues)


def test_findings_of_one_place_are_one_issue() -> None:
    findings = (FINDING, replace(FINDING, message="something else"))
    (issue,) = json.loads(codequality.render(Report(coverages=(covering(findings=findings),))))
    assert FINDING.message in issue["description"]
    assert "something else" in issue["description"]


def test_code_quality_of_a_good_report_is_an_empty_list() -> None:
    assert json.loads(codequality.render(good())) == []


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_code_quality_takes_text_as_text(text: str) -> None:
    issues = json.loads(codequality.render(spoken(text)))
    assert all(line(text) in issue["description"] for issue in issues)
    assert not any(
        re.search(r"[\x00-\x1f\u061c\u200f\u202e\u2066\ud800-\udfff]", issue["description"]) for issue in issues
    )


# --- GitHub's commands and outputs --------------------------------------------------------------

COMMAND = re.compile(r"::(error|warning) ((?:[a-z]+=[^:,\r\n]*,?)*)::([^\r\n]*)")


def read_command(text: str) -> tuple[str, dict[str, str], str]:
    """Read a workflow command as a runner does: first split, then unquote."""
    match = COMMAND.fullmatch(text)
    assert match is not None, text
    level, stated, data = match.groups()
    properties = dict(part.split("=", 1) for part in stated.split(",") if part)
    return level, {name: unquote(value) for name, value in properties.items()}, unquote(data)


def unquote(text: str) -> str:
    for quoted, meant in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(quoted, meant)
    return text


def test_annotations_stand_on_the_lines_of_the_lock() -> None:
    report = of_every_kind()
    read = [read_command(command) for command in github.commands(report)]
    placed = {facts["title"]: (level, facts.get("file"), facts.get("line")) for level, facts, _ in read}
    assert placed["not-offered: beta 1.0"] == ("error", "app/poetry.lock", str(10 * (len(Reason) + 2)))
    assert placed["forms-disagree"] == ("error", None, None)
    assert placed["yanked: p-yanked 1.0"] == ("warning", "app/poetry.lock", "20")
    assert "sdist-only: p-sdist-only 1.0" not in placed
    text = next(data for _, facts, data in read if facts["title"] == "not-offered: beta 1.0")
    assert "macos-arm64 3.10" in text
    assert ADVICE[Reason.NOT_OFFERED] in text


@pytest.mark.parametrize("count", [9, 10, 11, 500])
def test_annotations_keep_to_what_is_shown_of_a_step(count: int) -> None:
    """GitHub shows ten errors and ten warnings of a step."""
    cells = [cell(f"e{number}", Reason.NO_WHEEL) for number in range(count)]
    cells += [cell(f"w{number}", Reason.YANKED) for number in range(count)]
    cells += [cell("worst", Reason.DIGEST_MISMATCH, detail="x" * 5000)]
    commands = github.commands(Report(coverages=(covering(*cells),)))
    levels = Counter(read_command(command)[0] for command in commands)
    assert levels == {"error": min(count + 1, 10), "warning": min(count, 10)}
    shown = [read_command(command)[2] for command in commands]
    assert any("digest" in text or "worst" in text for text in shown[:2])
    assert (f"{count + 1} errors" in shown[0]) == (count + 1 > 10)
    assert max(map(len, commands)) < 2000


def test_annotations_of_several_destinations_say_which() -> None:
    one = covering(cell("alpha", Reason.NO_WHEEL))
    report = Report(coverages=(one, replace(one, destination="s3://mirror")))
    first, second = (read_command(command)[2] for command in github.commands(report))
    assert " at ./site" in first
    assert " at s3://mirror" in second


def test_a_good_report_annotates_nothing() -> None:
    assert github.commands(good()) == ()


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_no_text_becomes_a_command_of_its_own(text: str) -> None:
    coverage = covering(cell("alpha", Reason.NOT_OFFERED, detail=text), findings=(Finding("broken", text, text),))
    commands = github.commands(Report(coverages=(coverage,)))
    assert len(commands) == 2
    assert all(line(text) in read_command(command)[2] for command in commands)
    for command in (*commands, *github.commands(spoken(text))):
        assert len(command.splitlines()) == 1
        assert read_command(command)[0] in ("error", "warning")


def test_outputs_are_figures_a_step_can_use() -> None:
    read = dict(entry.split("=", 1) for entry in github.outputs(of_every_kind()).splitlines())
    totals = of_every_kind().totals
    assert read == {
        "verified": "false",
        "percent": totals.percent,
        "covered": str(totals.covered),
        "wanted": str(totals.wanted),
        "holes": str(totals.holes),
        "findings": "1",
        "release": "000007-0123456789ab",
        "files": str(totals.files),
        "bytes": str(totals.size),
    }
    assert github.outputs(good()).startswith("verified=true\npercent=100.0\ncovered=8\nwanted=8\nholes=0\n")


@pytest.mark.parametrize("text", [*HOSTILE.values(), "x\nverified=true", "x<<EOF\ny\nEOF"])
def test_no_text_becomes_an_output_of_its_own(text: str) -> None:
    coverage = covering(cell("alpha", Reason.NOT_OFFERED), release=text)
    names = [entry.split("=")[0] for entry in github.outputs(Report(coverages=(coverage,))).split("\n")]
    assert names == ["verified", "percent", "covered", "wanted", "holes", "findings", "release", "files", "bytes", ""]


# --- a size to live with ------------------------------------------------------------------------


def test_a_page_of_many_packages_stays_a_page() -> None:
    """1,000 packages x 20 environments: what it costs to send and to open."""
    chance = random.Random(1)
    targets = ("linux-x86_64", "linux-aarch64", "macos-arm64", "windows-amd64")
    cells = [
        cell(
            f"project-{number:04}", Reason.NO_WHEEL if chance.random() < 0.01 else Reason.COVERED, target, f"3.{minor}"
        )
        for number in range(1000)
        for target in targets
        for minor in range(10, 15)
    ]
    data = page.render(Report(coverages=(covering(*cells),)))
    assert data.count(b'<tr><th scope="row">project-') >= 1000
    assert len(data) < 1_200_000


def test_the_manual_names_every_form_and_output() -> None:
    text = (Path(__file__).resolve().parent.parent / "README.md").read_text("utf-8")
    section = text.split("\n## Reports\n")[1].split("\n## ")[0]
    assert all(f"`{name}`" in section for form in FORMS for name in form.names)
    outputs = [entry.split("=")[0] for entry in github.outputs(good()).splitlines()]
    assert all(f"`{name}`" in section for name in outputs)
