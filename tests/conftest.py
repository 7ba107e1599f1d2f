"""Isolation: no test sees how this machine is configured.

Every test runs with an empty home of its own and without the variables that steer `mirror`, pip, other installers,
proxies, certificates, clouds or colours, so that it proves the same on every machine. A test that must reach the
machine's own index (marker `clients`) asks for the fixture `machine_environment` and hands it to the child process.

Property tests draw the same examples in every run; `--hypothesis-profile=default` searches afresh.
"""

from __future__ import annotations

import os
import re
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir

if TYPE_CHECKING:
    from collections.abc import Iterator

_MACHINE = dict(os.environ)
_ROOT = Path(__file__).resolve().parent.parent
_SETTINGS = frozenset(re.findall(r"^([A-Z_]+)=", (_ROOT / "config.env.example").read_text("utf-8"), re.MULTILINE))
_PREFIXES = ("PIP_", "POETRY_", "UV_", "PDM_", "AWS_", "XDG_", "CLOUDFRONT_", "GITHUB_")
_VARIABLES = frozenset(
    {
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "FTP_PROXY"),
        *("NETRC", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"),
        *("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "TTY_INTERACTIVE"),
        *("COLUMNS", "LINES", "CI", "VIRTUAL_ENV", "SOURCE_DATE_EPOCH"),
    }
)

# Its tables of characters are kept beside the project, not in whatever folder the tests are started from.
set_hypothesis_home_dir(_ROOT / ".hypothesis")
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")


def _steers(variable: str) -> bool:
    name = variable.upper()
    return name in _SETTINGS or name in _VARIABLES or name.startswith(_PREFIXES)


@pytest.fixture(scope="session")
def machine_environment() -> dict[str, str]:
    """Hand out the environment in which the tests were started, as it was then."""
    return dict(_MACHINE)


@pytest.fixture(scope="session", autouse=True)
def isolation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Hide the machine's configuration, before any other fixture is made; give the folder that holds the homes."""
    homes = tmp_path_factory.mktemp("homes")
    with pytest.MonkeyPatch.context() as patch:
        for variable in filter(_steers, _MACHINE):
            patch.delenv(variable)
        # Also hides the machine-wide pip.conf: "os.devnull" is the value that pip documents for that.
        patch.setenv("PIP_CONFIG_FILE", os.devnull)
        for variable in ("HOME", "USERPROFILE"):
            patch.setenv(variable, str(homes))
        yield homes


_numbers = count()


@pytest.fixture(autouse=True)
def home(isolation: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test an empty home, and set it as the user's."""
    folder = isolation / str(next(_numbers))
    folder.mkdir()
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(folder))
    return folder
