"""What pip says while it downloads: which file it is at, how far it is, and why it stopped."""

from __future__ import annotations

import enum
import re
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from packaging.utils import canonicalize_name

from mirror.credentials import redact
from mirror.model import Failure, Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mirror.model import PlannedFile

_COLLECTING = re.compile(r"Collecting ([A-Za-z0-9][A-Za-z0-9._-]*)")
_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")
_STATUS = re.compile(r"(?:HTTP error |status code )(\d{3})|\b([45]\d\d) (?:Client|Server) Error")
_NO_MATCH = re.compile(r"(?:No matching distribution found for|satisfies the requirement) ([A-Za-z0-9][\w.-]*?)==")
_ABSENT = re.compile(r": 4(?:04|10) Client Error")
_CAUSE = re.compile(r"\(Caused by \w+\((.*?)\)*$")
_ERROR_TYPE = re.compile(r"^[\w.]+(?:Error|Exception|Timeout)\w*: ")
_GOT = re.compile(r"\bGot\s+([0-9a-f]{64,128})\b")
_DISK = re.compile(r"\[Errno (?:27|28|30|122)\]|No space left on device|Disk quota exceeded|File too large")
_NETWORK = re.compile(
    r"Max retries exceeded|[Cc]onnection|Timeout|timed out|not enough bytes|IncompleteRead|incomplete download"
    r"|resolve|SSL|certificate|proxy",
)
_DRAWN = "\N{MULTIPLICATION SIGN}\N{BOX DRAWINGS LIGHT ARC UP AND RIGHT}\N{BOX DRAWINGS LIGHT HORIZONTAL}> "
_KEPT_LINES = 400


class Trouble(enum.Enum):
    """What kind of failure it is, which decides what is tried next."""

    GONE = enum.auto()
    """The index does not have it any more: nothing is tried."""
    NETWORK = enum.auto()
    """The host does not answer, or not as it should; after a few of these it is left alone."""
    JUDGED = enum.auto()
    """The bytes came, and pip does not like them: someone who only looks at the digest may."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why one file could not be had."""

    trouble: Trouble
    failure: Failure


class Transcript:
    """The words of one pip process about one batch, line by line."""

    def __init__(self, files: Sequence[PlannedFile]) -> None:
        self._files = {file.project: file for file in files}
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._unread: list[str] = []
        self.current: PlannedFile | None = None
        """The file that pip is at."""
        self.received = 0
        """Bytes of it that have come, as far as pip has said."""

    def hear(self, line: str) -> PlannedFile | None:
        """Take in a line; the file that pip is done with, fetched and checked, when the line says so."""
        progress = _PROGRESS.fullmatch(line.strip())
        if progress:
            self.received = int(progress[1])
            return None
        self._lines.append(line)
        if "Could not fetch URL" in line and not _ABSENT.search(line):
            self._unread.append(line)
        turn = _COLLECTING.match(line)
        if turn is None:
            return self._turn(None) if line.startswith(("Saved ", "Successfully downloaded ")) else None
        return self._turn(self._files.get(canonicalize_name(turn[1])))

    def _turn(self, file: PlannedFile | None) -> PlannedFile | None:
        done, self.current, self.received = self.current, file, 0
        return done if done is not file else None

    @property
    def disk_refused(self) -> str:
        """What pip says about a disk that is full or may not be written; empty when there are none."""
        return next((redact(line.strip()) for line in self._lines if _DISK.search(line)), "")

    @property
    def unusable(self) -> str:
        """Why pip did not even begin: it is missing, or too old to know our options; empty when it did."""
        told = ("No module named pip", "no such option", "invalid choice", "option requires")
        return next((line.strip() for line in self._lines if any(words in line for words in told)), "")

    def culprit(self, files: Sequence[PlannedFile]) -> PlannedFile | None:
        """Which of `files` made pip stop; None when it does not say."""
        text = self._complaint()
        for file in files:
            if file.filename in text or quote(file.filename) in text:
                return file
        named = _NO_MATCH.search(text)
        if named and canonicalize_name(named[1]) in self._files:
            return self._files[canonicalize_name(named[1])]
        return self.current if self.current in files else None

    def judge(self, file: PlannedFile) -> Verdict:
        """Why `file`, which made pip stop, could not be had, and what to do."""
        # Asked by name, pip passes over an index that refuses or fails, and then says that there is no such file.
        unread = "\n".join(line for line in self._unread if f"/{file.project}/" in line)
        text = unread or self._complaint()
        status = _STATUS.search(text)
        code = (status[1] or status[2]) if status else ""
        said = _said(text)
        if code in ("404", "410") or "No matching distribution" in text:
            return _verdict(Trouble.GONE, file, Reason.NOT_OFFERED, f"{said}; lock another release, or file")
        if "DO NOT MATCH THE HASHES" in text:
            got = _GOT.search(text)
            found = f", the bytes are {file.digest.algorithm}:{got[1]}" if got else ""
            advice = "the index serves other bytes than were locked: find out why before you lock again"
            detail = f"the lock pins {file.digest}{found}; {advice}"
            return _verdict(Trouble.JUDGED, file, Reason.DIGEST_MISMATCH, detail)
        if code in ("401", "403", "407"):
            advice = "give the host's credentials in netrc or in pip's index-url"
            return _verdict(Trouble.GONE, file, Reason.DOWNLOAD_FAILED, f"{said}; {advice}")
        if code or _NETWORK.search(text):
            return _verdict(Trouble.NETWORK, file, Reason.DOWNLOAD_FAILED, f"{said}; run again to try again")
        return _verdict(Trouble.JUDGED, file, Reason.DOWNLOAD_FAILED, f"{said}; try that file with pip download")

    def _complaint(self) -> str:
        """Everything from the first error on."""
        lines = list(self._lines)
        start = next((place for place, line in enumerate(lines) if line.lstrip().lower().startswith("error:")), -8)
        return "\n".join(lines[start:])


def _said(complaint: str) -> str:
    """The one thing in pip's words that says what went wrong."""
    lines = [line.strip() for line in complaint.splitlines() if line.strip()]
    # pip's newer errors are drawn with a cross and an arrow: what happened, and about what.
    drawn = [line.lstrip(_DRAWN) for line in lines if line[0] in _DRAWN]
    first = next((line for line in lines if line.startswith("ERROR:")), lines[-1] if lines else "")
    # An unexpected exception is told as a traceback, whose last line says what it was.
    words = ": ".join(drawn) or (lines[-1] if first == "ERROR: Exception:" else first.removeprefix("ERROR:").strip())
    cause = _CAUSE.search(words)
    return (
        f"pip says: {redact(cause[1] if cause else _ERROR_TYPE.sub('', words))}"
        if words
        else "pip ended without a word"
    )


def _verdict(trouble: Trouble, file: PlannedFile, reason: Reason, detail: str) -> Verdict:
    return Verdict(trouble, Failure(filename=file.filename, reason=reason, detail=redact(detail)))
