"""A real browser without a window: Chromium, driven through its DevTools protocol over a pair of pipes.

A page is opened as people open it, keys are pressed, and what is then shown is read back; also without script.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome") or ""

needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed")

_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe"),
)
_LAUNCH = """
import fcntl, os, sys
# Chromium reads commands from descriptor 3 and answers on 4; both may be taken yet.
ours = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3]]
for descriptor, place in zip(ours, (3, 4)):
    os.dup2(descriptor, place)
os.execv(sys.argv[3], sys.argv[3:])
"""
_PATIENCE = 60
"""Seconds until a browser that does not answer is ended."""


class Browser:
    """One browser with one page, for the time of a `with` block."""

    def __init__(self, profile: Path, *, script: bool = True) -> None:
        """Keep everything below `profile`; without `script` pages are shown as if there were none."""
        self._flags = (
            *_FLAGS,
            f"--user-data-dir={profile}",
            *(() if script else ("--blink-settings=scriptEnabled=false",)),
        )
        self._numbers = itertools.count(1)
        self.problems: list[str] = []
        """What the page's console complained of, such as a breach of its own policy."""

    def __enter__(self) -> Browser:
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCH, str(theirs_in), str(theirs_out), CHROMIUM, *self._flags, "about:blank"],
            pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        self._alarm = threading.Timer(_PATIENCE, self._process.kill)
        self._alarm.start()
        self._left = b""
        targets = self._call("Target.getTargets", None)["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session: str = self._call("Target.attachToTarget", None, targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *_: object) -> None:
        self._alarm.cancel()
        self._process.kill()
        self._process.wait()
        os.close(self._out)
        os.close(self._in)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Ask the page for something, by the protocol's own names."""
        return self._call(method, self._session, **parameters)

    def open(self, url: str) -> None:
        """Open a page and wait until it is loaded."""
        self._loaded = False
        self.call("Page.navigate", url=url)
        while not self._loaded:
            self._handle(self._message())

    def value(self, expression: str) -> Any:
        """What an expression is worth in the page, as JSON."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def type(self, text: str) -> None:
        """Type into whatever has the focus."""
        self.call("Input.insertText", text=text)

    def press(self, key: str, code: int) -> None:
        """Press a key that is no letter: its name and Windows code, e.g. `Tab`, 9."""
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def show(self, *, width: int, height: int = 900, dark: bool = False) -> None:
        """Set the size of the window, in CSS pixels, and what the reader prefers."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, path: Path) -> None:
        """Save the whole page as a PNG, as far as it scrolls."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(answer["data"]))

    def _call(self, method: str, session: str | None, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        command = {"id": number, "method": method, "params": parameters, **({"sessionId": session} if session else {})}
        os.write(self._out, json.dumps(command).encode() + b"\0")
        while True:
            message = self._message()
            if message.get("id") == number:
                assert "error" not in message, (method, message["error"])
                result: dict[str, Any] = message["result"]
                return result
            self._handle(message)

    def _handle(self, message: dict[str, Any]) -> None:
        method, parameters = message.get("method"), message.get("params", {})
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Log.entryAdded":
            self.problems.append(parameters["entry"]["text"])
        elif method == "Runtime.exceptionThrown":
            self.problems.append(str(parameters["exceptionDetails"]))

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._left:
            chunk = os.read(self._in, 1 << 20)
            assert chunk, "the browser has ended"
            self._left += chunk
        raw, _, self._left = self._left.partition(b"\0")
        message: dict[str, Any] = json.loads(raw)
        return message
