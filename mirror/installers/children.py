"""The processes in which installers run: without anything of the user's that changes what is found."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mirror.errors import MirrorError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_STEERING = ("PIP_", "UV_", "VIRTUAL_ENV", "CONDA_", "PYTHONHOME", "PYTHONSTARTUP", "MACOSX_DEPLOYMENT_TARGET")
_PATIENCE = 3600.0
"""Seconds; an environment is a few gigabytes at worst, and installers give up on a dead host by themselves."""
_PATIENT_KILL = 2.0
"""Seconds that a process has to clean up when it is told to stop."""
_KILL = getattr(signal, "SIGKILL", signal.SIGTERM)


@dataclass(kw_only=True)
class Children:
    """The processes of one installer. Safe for several threads."""

    environ: Mapping[str, str]
    """The user's environment: certificates, proxies and netrc are found through it."""
    _stopped: threading.Event = field(default_factory=threading.Event)
    _running: set[subprocess.Popen[str]] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, command: Sequence[str], folder: Path, settings: Mapping[str, str]) -> tuple[int, str]:
        """Run a command in `folder` to its end; its exit code and everything that it said.

        `settings` are environment variables; empty ones are not set. Raise `MirrorError` when it cannot be started.
        """
        theirs = {name: value for name, value in self.environ.items() if not name.upper().startswith(_STEERING)}
        own = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder))
        try:
            child = subprocess.Popen(
                list(command),
                # A folder that holds nothing of others: Python looks for modules there first.
                cwd=folder,
                env={**theirs, **own, **{name: value for name, value in settings.items() if value}},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                # pip starts another process for another interpreter; in a session of their own they end together.
                start_new_session=True,
            )
        except OSError as error:
            raise MirrorError(f"cannot run {command[0]}: {error.strerror or error}") from error
        with self._lock:
            self._running.add(child)
        try:
            if self._stopped.is_set():
                _signal(child, _KILL)
            said = child.communicate(timeout=_PATIENCE)[0]
        except subprocess.TimeoutExpired:
            said = f"error: it did not end within {_PATIENCE / 60:.0f} minutes"
        finally:
            if child.poll() is None:
                _signal(child, _KILL)
                child.communicate()
            with self._lock:
                self._running.discard(child)
        return child.returncode, said

    def stop(self) -> None:
        """End every process, and whatever is started from now on."""
        self._stopped.set()
        with self._lock:
            running = tuple(self._running)
        for child in running:
            _signal(child, signal.SIGTERM)
        for child in running:
            try:
                child.wait(_PATIENT_KILL)
            except subprocess.TimeoutExpired:
                _signal(child, _KILL)


def unproxied(index: str) -> dict[str, str]:
    """The variables that keep a proxy out of the way to an index on this very machine."""
    host = urlsplit(index).hostname or ""
    return dict.fromkeys(("NO_PROXY", "no_proxy"), host) if loopback(index) else {}


def loopback(index: str) -> bool:
    """Whether an index is on this very machine, so that neither proxies nor certificates matter."""
    host = urlsplit(index).hostname or ""
    with contextlib.suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"


def _signal(child: subprocess.Popen[str], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.name == "posix":
            os.killpg(child.pid, number)
        else:
            child.send_signal(number)
