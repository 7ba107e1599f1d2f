"""What the user's own pip is configured to do: its indexes, certificates, proxy and patience.

The one door to pip's configuration. It is asked of pip itself (`pip config list`), which reads its files and the
`PIP_*` variables as its documentation ranks them: global, then the command's own section, then the environment.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import threading
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mirror.credentials import Credentials, origin, redact
from mirror.errors import MirrorError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

# What we run is `pip download`; [install] is where many people keep their index, so it stands in where [download]
# says nothing.
_SECTIONS = ("global", "install", "download", ":env:")
_ALIASES = {"default-timeout": "timeout", "pypi-url": "index-url", "i": "index-url", "f": "find-links"}
_ENTRY = re.compile(r"(:env:|[^.=]+)\.([^=]+)=(.*)")
_TRUE = ("y", "yes", "t", "true", "on", "1")
_FALSE = ("n", "no", "f", "false", "off", "0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """How hosts are reached; the defaults are pip's."""

    cert: str = ""
    """A file or folder of certificates to trust instead of the system's."""
    client_cert: str = ""
    """A file with our own private key and certificate."""
    proxy: str = ""
    """For everything, whatever `HTTPS_PROXY` says; may hold credentials, so it is never shown."""
    trusted_hosts: tuple[str, ...] = ()
    """`host` or `host:port` whose certificate is not checked, and which may speak plain http."""
    timeout: float = 15.0
    """Seconds to wait for a connection, and for each next byte."""
    retries: int = 5
    """How often a connection or a passing server error is tried again."""


_PLAIN = Network()


@dataclass(frozen=True, slots=True, kw_only=True)
class PipSettings:
    """The part of pip's configuration that decides where files come from."""

    indexes: tuple[str, ...] = field(repr=False)
    """URLs of simple indexes, the main one first, with credentials as configured: never show them."""
    find_links: tuple[str, ...] = field(default=(), repr=False)
    network: Network = field(default=Network(), repr=False)
    keyring_provider: str = ""


class Configuration:
    """pip's configuration, asked for in the background and waited for when it is first needed."""

    def __init__(self, settings: PipSettings, environ: Mapping[str, str] | None = None) -> None:
        """Hold settings that are known already."""
        self.environ = dict(os.environ if environ is None else environ)
        self._settings = settings

    @classmethod
    def start(
        cls,
        *,
        index_url: str = "",
        environ: Mapping[str, str] | None = None,
        python: str = sys.executable,
        at_once: bool = True,
    ) -> Configuration:
        """Ask the pip of an interpreter; return at once, for its answer takes a moment.

        `index_url` is the mirror's own setting: it is the only index then, and pip's indexes are not used. Without
        `at_once` pip is not asked before somebody wants to know.
        """
        asked = _Asked(index_url, dict(os.environ if environ is None else environ), python)
        if at_once:
            asked.begin()
        return asked

    @property
    def settings(self) -> PipSettings:
        """What pip said. Raise `MirrorError` when it cannot be asked or is configured wrongly."""
        return self._settings

    @cached_property
    def credentials(self) -> Credentials:
        """What stands in the indexes' URLs and in Poetry's variables, for all who fetch."""
        return Credentials(self.settings.indexes, self.environ)


class _Asked(Configuration):
    def __init__(self, index_url: str, environ: dict[str, str], python: str) -> None:
        self.environ = environ
        self._index_url = index_url
        self._python = python
        self._lock = threading.Lock()
        self._known: PipSettings | None = None
        self._answer: subprocess.CompletedProcess[str] | OSError | None = None
        self._asking: threading.Thread | None = None

    def begin(self) -> None:
        """Ask pip in the background, if nobody has."""
        if self._asking is None:
            self._asking = threading.Thread(target=self._ask, name="pip-config", daemon=True)
            self._asking.start()

    @property
    def settings(self) -> PipSettings:
        with self._lock:
            if self._known is None:
                self.begin()
                self._known = read(self._options(), self._index_url)
            return self._known

    def _ask(self) -> None:
        try:
            self._answer = self._pip("list")
        except OSError as error:
            self._answer = error

    def _pip(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self._python, "-m", "pip", "--disable-pip-version-check", "--no-color", "config", *arguments],
            # `-m` looks into the current folder first: not into one where others may have put a pip.py.
            cwd=Path(self._python).parent,
            env={**self.environ, "PYTHONIOENCODING": "utf-8"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )

    def _options(self) -> dict[str, str]:
        if self._asking is not None:
            self._asking.join()
        answer = self._answer
        if isinstance(answer, OSError):
            raise MirrorError(f"cannot run {self._python}: {answer.strerror}") from answer
        assert answer is not None
        if answer.returncode != 0:
            said = redact(answer.stderr.strip() or answer.stdout.strip()).splitlines()[-1:]
            raise MirrorError(
                f"pip cannot say how it is configured: {''.join(said)}",
                hint=f"try: {self._python} -m pip config list",
            )
        return dict(_ranked(answer.stdout, lambda key: self._pip("get", key).stdout.rstrip("\n")))


def _ranked(listing: str, ask: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    """Options and values, weakest first, so that a later one replaces an earlier one."""
    found: dict[tuple[str, str], list[str]] = {}
    for line in listing.splitlines():
        match = _ENTRY.fullmatch(line)
        if match:
            found.setdefault((match[1], match[2]), []).append(str(ast.literal_eval(match[3])))
    for section in _SECTIONS:
        for (place, key), values in found.items():
            if place == section:
                # The list does not say which of several files wins; pip knows.
                value = values[0] if len(set(values)) == 1 else ask(f"{section}.{key}")
                if value:
                    yield _ALIASES.get(key, key), value


def read(options: Mapping[str, str], index_url: str = "") -> PipSettings:
    """Make sense of pip's options by long name, e.g. `{"timeout": "60"}`.

    `index_url` beats all of pip's indexes. Raise `MirrorError` naming the option that makes no sense.
    """
    settings = PipSettings(
        indexes=(_url(index_url),),
        network=Network(
            cert=options.get("cert", ""),
            client_cert=options.get("client-cert", ""),
            proxy=options.get("proxy", ""),
            trusted_hosts=tuple(options.get("trusted-host", "").split()),
            timeout=_number(options, "timeout", _PLAIN.timeout),
            retries=int(_number(options, "retries", _PLAIN.retries)),
        ),
        keyring_provider=options.get("keyring-provider", ""),
    )
    if index_url:
        return settings
    links = tuple(options.get("find-links", "").split())
    if _flag(options, "no-index"):
        return replace(settings, indexes=(), find_links=links)
    main = options.get("index-url") or builtin_index()
    extra = options.get("extra-index-url", "").split()
    return replace(settings, indexes=tuple(dict.fromkeys(_url(url) for url in (main, *extra))), find_links=links)


def _url(text: str) -> str:
    """An index is a URL or, as pip and uv accept it, a path (standards section 2.6)."""
    if text and "://" not in text and not text.startswith("file:"):
        return Path(text).resolve().as_uri()
    try:
        origin(text)
    except ValueError as error:
        raise MirrorError(f"pip's index {redact(text)} is no address: {error}", hint="see: pip config debug") from error
    return text


def _number(options: Mapping[str, str], name: str, default: float) -> float:
    text = options.get(name, "")
    try:
        number = float(text) if text else default
    except ValueError:
        number = -1.0
    if not 0 <= number < 1e6:
        raise MirrorError(f"pip's {name} is {text!r}", hint=f"it is a number: pip config set global.{name} {default:g}")
    return number


def _flag(options: Mapping[str, str], name: str) -> bool:
    text = options.get(name, "no").lower()
    if text not in (*_TRUE, *_FALSE):
        raise MirrorError(f"pip's {name} is {text!r}", hint="it is yes or no")
    return text in _TRUE


def builtin_index() -> str:
    """The index of a pip that nobody configured, PyPI. pip names its host; raise `MirrorError` if it does not."""
    try:
        from pip._internal.models.index import PyPI  # noqa: PLC0415 - private to pip, and rarely needed
    except ImportError as error:
        raise MirrorError("pip names no index", hint="set INDEX_URL to the simple index to mirror from") from error
    return str(PyPI.simple_url)
