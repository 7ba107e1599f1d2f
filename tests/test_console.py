"""The console: results to stdout, everything else to stderr, and nothing that a lock says moves the cursor."""

from __future__ import annotations

import contextlib
import io
import os
import re
import threading
import time
from dataclasses import replace

import pytest
from packaging.utils import canonicalize_name

from mirror.console import Console
from mirror.coverage import POLICY, Coverage, Finding
from mirror.errors import MirrorError
from mirror.model import HOLES, Cell, Digest, Level, Notice, Plan, PlannedFile, Reason

ESCAPE = "\x1b"


def notice(message: str = "look", *, level: Level = Level.WARNING, code: str = "code", package: str = "") -> Notice:
    return Notice(level=level, code=code, message=message, package=package)


def cell(package: str, reason: Reason = Reason.NO_WHEEL, *, python: str = "3.11", detail: str = "") -> Cell:
    return Cell(
        lock="poetry.lock",
        package=canonicalize_name(package),
        version="1.0",
        target="linux-x86_64",
        python=python,
        reason=reason,
        detail=detail,
    )


def covered(*cells: Cell, findings: tuple[Finding, ...] = ()) -> Coverage:
    return Coverage(destination="./site", release="000001", cells=cells, findings=findings, sizes={})


# --- without a terminal -------------------------------------------------------------------------


def test_a_step_is_one_plain_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with Console().task("Downloading", items=3, size=3_000_000, unit="files") as task:
        task.advance(1, 1_000_000, what="foo-1.0.tar.gz")
        assert capsys.readouterr() == ("", "")
        task.advance(2, 2_000_000)
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"Downloading: 3 files, 3\.0 MB, [0-9.]+ s\n", err)


def test_a_step_that_takes_a_while_says_how_fast_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    with Console().task("Downloading", items=1, size=3_000_000, unit="files") as task:
        task.advance(1, 3_000_000)
        time.sleep(0.6)
    assert re.fullmatch(r"Downloading: 1 file, 3\.0 MB, [45]\.[0-9] MB/s, 0\.[67] s\n", capsys.readouterr().err)


def test_a_step_says_how_much_of_it_was_done(capsys: pytest.CaptureFixture[str]) -> None:
    with Console().task("Reading", items=5) as task:
        task.advance(2)
    with Console().task("Reading", items=5, unit="pages") as task:
        task.expect(items=2)
        task.advance(2)
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("Reading: 2 of 5, ")
    assert second.startswith("Reading: 2 pages, ")


def test_a_step_that_fails_says_nothing_of_success(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(MirrorError), Console().task("Downloading", items=3):
        raise MirrorError("no")
    assert capsys.readouterr() == ("", "")


def test_several_threads_count_together(capsys: pytest.CaptureFixture[str]) -> None:
    with Console().task("Counting", items=4000) as task:

        def count() -> None:
            for _ in range(1000):
                task.advance(1, 10)

        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert capsys.readouterr().err.startswith("Counting: 4,000, 40.0 kB, ")


def test_a_result_goes_to_stdout_untouched(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(quiet=True)
    text = '{"a": "[bold]:key:[/] ' + "x" * 300 + '"}'
    console.data(text)
    console.data("with its own end\n")
    assert capsys.readouterr() == (f"{text}\nwith its own end\n", "")


def test_what_is_said_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.say("2 pages written")
    console.notice(notice("it is late", package="foo"))
    console.error(MirrorError("it broke", hint="mend it"))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["2 pages written", "warning: foo: it is late", "error: it broke", "hint: mend it"]


def test_an_error_without_a_hint_has_no_hint(capsys: pytest.CaptureFixture[str]) -> None:
    Console().error(MirrorError("it broke"))
    assert capsys.readouterr().err == "error: it broke\n"


def test_an_error_of_many_lines_keeps_them(capsys: pytest.CaptureFixture[str]) -> None:
    Console().error(MirrorError("JOBS: no\nSDISTS: no"))
    assert capsys.readouterr().err.splitlines() == ["error: JOBS: no", "SDISTS: no"]


def test_quiet_keeps_warnings_and_errors_only(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(quiet=True)
    console.say("2 pages written")
    console.notices([notice(f"note {number}", level=Level.NOTE) for number in range(50)])
    console.notice(notice("warned"))
    console.notice(notice("failed", level=Level.ERROR, code="other"))
    with console.task("Downloading", items=1) as task:
        task.advance(1)
    console.error(MirrorError("it broke"))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["warning: warned", "error: failed", "error: it broke"]


# --- notices ------------------------------------------------------------------------------------


def test_a_notice_is_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.notice(notice("same"))
    console.notices([notice("same"), notice("other")])
    assert capsys.readouterr().err.splitlines() == ["warning: same", "warning: other"]


@pytest.mark.parametrize("level", [Level.NOTE, Level.WARNING])
def test_of_many_of_one_kind_some_are_shown_and_the_rest_is_counted(
    level: Level, capsys: pytest.CaptureFixture[str]
) -> None:
    Console().notices([notice(f"number {number}", level=level) for number in range(40)])
    lines = capsys.readouterr().err.splitlines()
    shown = len(lines) - 1
    assert 0 < shown < 40
    assert lines[-1] == f"… and {40 - shown} more like that (code)"


def test_errors_are_all_named(capsys: pytest.CaptureFixture[str]) -> None:
    """DESIGN 3.4: every failed package is named."""
    Console().notices([notice(f"number {number}", level=Level.ERROR) for number in range(40)])
    assert capsys.readouterr().err.splitlines() == [f"error: number {number}" for number in range(40)]


# --- text of unknown origin ---------------------------------------------------------------------

HOSTILE = {
    "markup": ("[bold]loud[/bold]", "[bold]loud[/bold]"),
    "closing-tag": ("[/]", "[/]"),
    "wrong-closing-tag": ("a [/red] b", "a [/red] b"),
    "link": ("[link=https://evil.example]x[/link]", "[link=https://evil.example]x[/link]"),
    "extras": ("foo[extra]", "foo[extra]"),
    "backslash": ("C:\\[red]\\", "C:\\[red]\\"),
    "emoji": ("poetry:lock:7", "poetry:lock:7"),
    "colour": ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
    "clear-screen": ("\x1b[2J\x1b[H", r"\x1b[2J\x1b[H"),
    "title": ("\x1b]0;owned\x07", r"\x1b]0;owned\x07"),
    "one-byte-escape": ("\x9b31m", r"\x9b31m"),
    "backspace": ("safe\x08\x08\x08\x08evil", r"safe\x08\x08\x08\x08evil"),
    "nul": ("a\0b", r"a\x00b"),
    "right-to-left": ("a\u202eb", r"a\u202eb"),
    "new-line": ("fine\nerror: forged", "fine error: forged"),
    "carriage-return": ("fine\rerror: forged", "fine error: forged"),
    "line-separator": ("fine\u2028error: forged", "fine error: forged"),
    "command-of-a-log": ("a ##[error]b ##vso[task.x]c", r"a \x23#[error]b \x23#vso[task.x]c"),
    "long": ("x" * 500, "x" * 500),
}


@pytest.mark.parametrize(("text", "shown"), HOSTILE.values(), ids=HOSTILE)
def test_text_of_unknown_origin_is_shown_as_it_is_on_one_line(
    text: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    console = Console()
    console.say(text)
    console.notice(notice(text))
    console.coverage(covered(cell("foo", detail=text), findings=(Finding("code", "key", text),)), HOLES)
    out, err = capsys.readouterr()
    assert err.splitlines() == [shown, f"warning: {shown}"]
    assert f"no-wheel foo 1.0 on linux-x86_64 3.11 ({shown})" in out.splitlines()
    assert f"code key: {shown}" in out.splitlines()


@pytest.mark.parametrize(
    ("text", "shown"), [entry for entry in HOSTILE.values() if entry[0].isprintable()], ids=lambda text: None
)
def test_an_error_shows_text_as_it_is(text: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    Console().error(MirrorError(text, hint=text))
    assert capsys.readouterr().err.splitlines() == [f"error: {shown}", f"hint: {shown}"]


def test_an_error_cannot_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    Console().error(MirrorError("\x1b[2J\r", hint="\x1b[2J"))
    assert capsys.readouterr().err.splitlines() == [r"error: \x1b[2J\r", r"hint: \x1b[2J"]


# --- reports ------------------------------------------------------------------------------------


def planned(name: str, home: str, size: int | None) -> PlannedFile:
    return PlannedFile(
        filename=f"{name}-1.0-py3-none-any.whl",
        project=canonicalize_name(name),
        version="1.0",
        digest=Digest("sha256", "a" * 64),
        home=home,
        python="3.11",
        size=size,
    )


def test_a_plan_is_a_table_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    plan = Plan(
        files=(planned("a", "linux-x86_64", 10**6), planned("b", "noarch", 2 * 10**6), planned("c", "noarch", None)),
        cells=(cell("a", Reason.COVERED), cell("b", Reason.YANKED), cell("c", Reason.NOT_OFFERED, detail="gone"),
               cell("d", Reason.EXCLUDED_BY_MARKER), cell("e", Reason.SDIST_ONLY)),
    )  # fmt: skip
    Console().plan(plan)
    out, err = capsys.readouterr()
    rows = [" ".join(line.split()) for line in out.splitlines() if line.strip()]
    assert rows[:4] == [
        "target files size cells covered excluded sdist only holes",
        "linux-x86_64 1 1.0 MB 5 2 1 1 1",
        "noarch 2 2.0 MB +",
        "all 3 3.0 MB + 5 2 1 1 1",
    ]
    assert "The index does not tell the size of 1 file." in out.splitlines()
    assert "not-offered c 1.0 on linux-x86_64 3.11 (gone)" in out
    assert err == ""


def test_coverage_is_a_table_and_a_verdict_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    Console().coverage(covered(cell("a", Reason.COVERED), cell("b", Reason.EXCLUDED_BY_PYTHON)), HOLES)
    out, err = capsys.readouterr()
    assert out.splitlines()[-1].startswith("verified: ./site: ")
    assert err == ""
    assert ESCAPE not in out


def test_what_is_missing_is_named_for_every_package(capsys: pytest.CaptureFixture[str]) -> None:
    """DESIGN 3.4: every failed package is named."""
    cells = [cell(f"package-{number}", Reason.NOT_OFFERED) for number in range(60)]
    Console().coverage(covered(*cells), HOLES)
    out = capsys.readouterr().out
    assert all(f"not-offered {item.package} 1.0 on linux-x86_64 3.11\n" in out for item in cells)
    assert out.splitlines()[-1].startswith("not verified: ")


def test_places_of_one_hole_share_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    mac = replace(cell("foo"), target="macos-arm64")
    Console().coverage(covered(*(cell("foo", python=f"3.{minor}") for minor in range(8, 12)), mac), HOLES)
    line = "no-wheel foo 1.0 on linux-x86_64 3.8,3.9,3.10,3.11, macos-arm64 3.11"
    assert line in capsys.readouterr().out.splitlines()


def test_of_several_details_the_first_is_shown_and_the_rest_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    cells = [cell("foo", Reason.NOT_OFFERED, python=f"3.{minor}", detail=f"gone: cp3{minor}") for minor in (9, 10, 11)]
    Console().coverage(covered(*cells), HOLES)
    line = "not-offered foo 1.0 on linux-x86_64 3.9,3.10,3.11 (gone: cp39; 2 more like that)"
    assert line in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("reason", sorted(POLICY))
def test_what_to_do_is_said_once_for_each_reason(reason: Reason, capsys: pytest.CaptureFixture[str]) -> None:
    """DESIGN 3.4: every failed package is named, with what to do."""
    Console().coverage(covered(cell("foo", reason), cell("bar", reason)), frozenset({reason}))
    hints = [line for line in capsys.readouterr().out.splitlines() if line.startswith("hint: ")]
    assert len(hints) == 1
    assert hints[0].startswith(f"hint: {reason}: ")


def test_what_repairs_the_site_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    """A refresh would find that nothing changed; and what never changes must not be replaced by itself."""
    wrong = [Finding("missing", f"packages/foo-{number}.whl", "a page lists it") for number in range(3)]
    altered = Finding("altered", "packages/bar-1.0.whl", "a page states another digest")
    for findings, words in (((*wrong, Finding("altered", "index.html", "")), ["repairs"]), ((altered,), ["by hand"])):
        Console().coverage(covered(cell("foo", Reason.COVERED), findings=findings), HOLES)
        hints = [line for line in capsys.readouterr().out.splitlines() if line.startswith("hint: ")]
        assert len(hints) == len(words)
        assert all("mirror sync --check-remote" in hint for hint in hints)
        assert all(word in hint for word, hint in zip(words, hints, strict=True))


def test_where_nothing_is_published_no_package_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    cells = tuple(cell(f"p{number}", Reason.NOT_PUBLISHED) for number in range(60))
    nothing = Finding("no-release", ".mirror/current.json", "nothing was published there yet")
    Console().coverage(replace(covered(*cells, findings=(nothing,)), release=""), HOLES)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(nothing)
    assert lines[1].startswith("hint: not-published: run `mirror refresh`")
    assert lines[2].startswith("target ")


def test_a_site_with_findings_is_not_verified(capsys: pytest.CaptureFixture[str]) -> None:
    findings = tuple(
        Finding("broken", f"simple/p{number}/index.html", "is not what was published") for number in range(30)
    )
    Console().coverage(covered(cell("a", Reason.COVERED), findings=findings), HOLES)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "broken simple/p0/index.html: is not what was published"
    counted = next(line for line in lines if line.startswith("… and "))
    assert counted == f"… and {30 - lines.index(counted)} more like that (broken)"
    assert lines[-1].startswith("not verified: ")


def test_a_percentage_of_all_is_said_of_nothing_that_lacks_a_cell(capsys: pytest.CaptureFixture[str]) -> None:
    cells = [cell(f"p{number}", Reason.COVERED) for number in range(4999)]
    Console().coverage(covered(cell("lost"), *cells), HOLES)
    row = next(line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("linux-x86_64"))
    assert row[1:4] == ["5000", "4999", "99.9"]


def test_a_table_in_a_log_is_not_cut_to_a_terminals_width(capsys: pytest.CaptureFixture[str]) -> None:
    Console().coverage(covered(*(cell(f"package-{reason}", reason) for reason in Reason)), HOLES)
    out = capsys.readouterr().out
    heading = next(line for line in out.splitlines() if line.startswith("target"))
    assert " ".join(heading.split()) == "target cells covered % yanked sdist only direct excluded holes files size"
    assert "…" not in out


def test_where_all_is_well_the_table_says_no_more_than_that(capsys: pytest.CaptureFixture[str]) -> None:
    Console().coverage(covered(cell("a", Reason.COVERED), cell("b", Reason.COVERED)), HOLES)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[:2] == ["target cells covered % files size", "linux-x86_64 2 2 100.0 0 0 bytes"]


def test_of_several_locks_the_one_that_lacks_something_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    other = replace(cell("foo"), lock="app/poetry.lock")
    Console().coverage(covered(cell("foo"), other), HOLES)
    lines = capsys.readouterr().out.splitlines()
    assert "no-wheel foo 1.0 of poetry.lock on linux-x86_64 3.11" in lines
    assert "no-wheel foo 1.0 of app/poetry.lock on linux-x86_64 3.11" in lines


# --- on a terminal ------------------------------------------------------------------------------


class Terminal:
    """A real terminal in place of stderr; `shown` is what was written to it."""

    def __init__(self) -> None:
        self.shown = ""

    def __enter__(self) -> Terminal:
        pty = pytest.importorskip("pty")
        self._ours, theirs = pty.openpty()
        self._stream = io.TextIOWrapper(os.fdopen(theirs, "wb", 0), "utf-8", write_through=True)
        self._chunks: list[bytes] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self._redirected = contextlib.redirect_stderr(self._stream)
        self._redirected.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._redirected.__exit__(None, None, None)
        self._stream.close()
        self._reader.join()
        os.close(self._ours)
        self.shown = b"".join(self._chunks).decode()

    def _read(self) -> None:
        # Once its other end is closed a terminal answers EIO on some systems and nothing on others.
        with contextlib.suppress(OSError):
            while chunk := os.read(self._ours, 65536):
                self._chunks.append(chunk)


@pytest.fixture(autouse=True)
def term(monkeypatch: pytest.MonkeyPatch) -> None:
    """Say which terminal it would be, if it were one."""
    monkeypatch.setenv("TERM", "xterm-256color")


def test_on_a_terminal_a_step_is_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    with terminal, Console().task("Downloading", items=3, size=3_000_000) as task:
        task.advance(1, 1_000_000, what="foo[extra]-1.0.tar.gz")
        task.expect(items=2, size=2_000_000)
        task.advance(1, 1_000_000, what="[/]")
    assert "Downloading" in terminal.shown
    assert "2/2" in terminal.shown
    assert "2.0 MB of 2.0 MB" in terminal.shown
    assert ESCAPE in terminal.shown
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_on_a_terminal_a_bar_stays_on_one_line(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    with Terminal() as terminal, Console().task("Consolidating", items=212, size=10**9, unit="files") as task:
        task.advance(100, 999_900_000, what="charset_normalizer-3.5.2-cp312-cp312-manylinux2014_x86_64.whl" * 3)
        time.sleep(0.3)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.shown)
    lines = [line for line in re.split(r"[\r\n]+", text) if line.strip()]
    assert lines
    assert all("Cons" in line and len(line) <= columns for line in lines)
    assert ".whl" not in lines[-1]


def test_on_a_terminal_words_are_coloured() -> None:
    with Terminal() as terminal:
        Console().notice(notice("look"))
    assert re.search(r"\x1b\[[0-9;]*33m", terminal.shown)


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    with Terminal() as terminal:
        console = Console()
        console.notice(notice("look"))
        console.error(MirrorError("it broke", hint="mend it"))
    assert "it broke" in terminal.shown
    assert not re.search(r"\x1b\[(?:[0-9;]*;)?[34][0-9](?:;[0-9;]*)?m", terminal.shown)


def test_on_a_terminal_text_of_unknown_origin_moves_no_cursor() -> None:
    with Terminal() as terminal:
        console = Console()
        console.notice(notice("\x1b[2J\x1b]0;owned\x07"))
        with console.task("Downloading", items=1) as task:
            task.advance(1, what="\x1b[2J[/]")
    assert r"\x1b[2J\x1b]0;owned\x07" in terminal.shown
    assert "\x1b[2J" not in terminal.shown
    assert "\x07" not in terminal.shown


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_no_text_is_too_strange_for_the_stream_it_goes_to(encoding: str) -> None:
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding, write_through=True) as stream, contextlib.redirect_stdout(stream):
        Console().coverage(covered(cell("foo", detail="壊れた \ud800 …")), HOLES)
        written = raw.getvalue()
    assert b"no-wheel foo 1.0" in written
    assert rb"\ud800" in written
