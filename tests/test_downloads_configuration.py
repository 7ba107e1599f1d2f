"""pip's configuration, as a real pip tells it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from mirror.credentials import Credentials, redact, strip
from mirror.downloads.configuration import Configuration, Network, read
from mirror.errors import MirrorError

if TYPE_CHECKING:
    from pathlib import Path


def environ(tmp_path: Path, config: str = "", **variables: str) -> dict[str, str]:
    """An environment in which nothing but `config` and `variables` configures pip."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
    (tmp_path / "pip.conf").write_text(config)
    return {**plain, "HOME": str(tmp_path), "PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), **variables}


CASES = {
    "global": ("[global]\nindex-url = https://a.example/simple/\n", {}, ("https://a.example/simple/",)),
    "extra": (
        "[global]\nindex-url = https://a.example/simple\nextra-index-url =\n    https://b.example/\n    https://c.example/\n",
        {},
        ("https://a.example/simple", "https://b.example/", "https://c.example/"),
    ),
    "download-beats-global": (
        "[global]\nindex-url = https://a.example/\n[download]\nindex-url = https://b.example/\n",
        {},
        ("https://b.example/",),
    ),
    "install-beats-global": (
        "[global]\nindex-url = https://a.example/\n[install]\nindex-url = https://b.example/\n",
        {},
        ("https://b.example/",),
    ),
    "download-beats-install": (
        "[install]\nindex-url = https://a.example/\n[download]\nindex-url = https://b.example/\n",
        {},
        ("https://b.example/",),
    ),
    "environment-beats-all": (
        "[download]\nindex-url = https://a.example/\n",
        {"PIP_INDEX_URL": "https://b.example/"},
        ("https://b.example/",),
    ),
    "another-commands-section": (
        "[global]\nindex-url = https://a.example/\n[search]\nindex-url = https://b.example/\n",
        {},
        ("https://a.example/",),
    ),
    "underscores": ("[global]\nindex_url = https://a.example/\n", {}, ("https://a.example/",)),
    "old-name": ("", {"PIP_PYPI_URL": "https://a.example/"}, ("https://a.example/",)),
    "no-index": ("[global]\nno-index = yes\nindex-url = https://a.example/\n", {}, ()),
    "index-after-all": (
        "[global]\nno-index = yes\nindex-url = https://a.example/\n",
        {"PIP_NO_INDEX": "0"},
        ("https://a.example/",),
    ),
    "twice-the-same": (
        "[global]\nindex-url = https://a.example/\nextra-index-url = https://a.example/ https://b.example/\n",
        {},
        ("https://a.example/", "https://b.example/"),
    ),
    "awkward-characters": (
        "[global]\nindex-url = https://u'\"=:p%%40@a.example/x=y\n",
        {},
        ("https://u'\"=:p%%40@a.example/x=y",),
    ),
}


@pytest.mark.parametrize(("config", "variables", "expected"), CASES.values(), ids=CASES)
def test_indexes(tmp_path: Path, config: str, variables: dict[str, str], expected: tuple[str, ...]) -> None:
    configuration = Configuration.start(environ=environ(tmp_path, config, **variables))
    assert configuration.settings.indexes == expected


def test_how_hosts_are_reached(tmp_path: Path) -> None:
    config = """[global]
        cert = /ca.pem
        client-cert = /me.pem
        proxy = http://proxy.example:3128
        trusted-host = a.example
            b.example:8443
        timeout = 60
        retries = 2
        find-links = /wheels
        keyring-provider = subprocess
    """
    settings = Configuration.start(environ=environ(tmp_path, config, PIP_DEFAULT_TIMEOUT="7.5")).settings
    assert settings.network == Network(
        cert="/ca.pem",
        client_cert="/me.pem",
        proxy="http://proxy.example:3128",
        trusted_hosts=("a.example", "b.example:8443"),
        timeout=7.5,
        retries=2,
    )
    assert settings.find_links == ("/wheels",)
    assert settings.keyring_provider == "subprocess"


def test_a_pip_that_nobody_configured_uses_its_own_index(tmp_path: Path) -> None:
    from pip._internal.models.index import PyPI

    assert Configuration.start(environ=environ(tmp_path)).settings.indexes == (PyPI.simple_url,)


def test_the_mirrors_own_setting_is_the_only_index(tmp_path: Path) -> None:
    config = (
        "[global]\nindex-url = https://a.example/\nextra-index-url = https://b.example/\nfind-links = /x\ntimeout=9\n"
    )
    settings = Configuration.start(index_url="https://own.example/simple/", environ=environ(tmp_path, config)).settings
    assert settings.indexes == ("https://own.example/simple/",)
    assert settings.find_links == ()
    assert settings.network.timeout == 9


def test_an_index_may_be_a_path(tmp_path: Path) -> None:
    assert read({"index-url": str(tmp_path)}).indexes == (tmp_path.as_uri(),)


def test_of_two_files_the_one_that_pip_prefers_wins(tmp_path: Path) -> None:
    variables = environ(tmp_path)
    del variables["PIP_CONFIG_FILE"]
    variables |= {"XDG_CONFIG_HOME": str(tmp_path / "config"), "XDG_CONFIG_DIRS": str(tmp_path / "system")}
    for place, host in (("config", "user"), ("system", "system")):
        (tmp_path / place / "pip").mkdir(parents=True)
        (tmp_path / place / "pip" / "pip.conf").write_text(f"[global]\nindex-url = https://{host}.example/\n")
    if sys.platform != "linux":
        pytest.skip("elsewhere pip looks into other places")
    assert Configuration.start(environ=variables).settings.indexes == ("https://user.example/",)


@pytest.mark.parametrize(
    ("config", "told"),
    [("[global]\ntimeout = soon\n", "timeout"), ("[global]\nno-index = perhaps\n", "no-index"), ("nonsense", "pip")],
)
def test_what_makes_no_sense_is_named(tmp_path: Path, config: str, told: str) -> None:
    with pytest.raises(MirrorError, match=told):
        _ = Configuration.start(environ=environ(tmp_path, config)).settings


def test_without_a_pip(tmp_path: Path) -> None:
    with pytest.raises(MirrorError, match="no-python"):
        _ = Configuration.start(python=str(tmp_path / "no-python")).settings


def test_credentials_are_known_by_origin_and_path() -> None:
    known = Credentials(
        ["https://u:p%40ss@a.example/one/simple/", "https://v:q@a.example/two/simple/", "https://open.example/"]
    )
    assert known.of("https://a.example/one/files/x.whl") == ("u", "p@ss")
    assert known.of("https://a.example/two/simple/x/") == ("v", "q")
    assert known.of("https://a.example:443/two/x") == ("v", "q")
    for other in (
        "http://a.example/one/",
        "https://a.example:8443/one/",
        "https://b.a.example/",
        "https://open.example/",
    ):
        assert known.of(other) is None
    assert known.inside("https://a.example/one/x") == "https://u:p%40ss@a.example/one/x"
    assert known.inside("https://open.example/x") == "https://open.example/x"


def test_credentials_for_http_are_good_for_the_same_hosts_https() -> None:
    known = Credentials(["http://u:p@a.example/one/", "http://v:q@a.example/two/", "http://w:r@c.example:8080/"])
    assert known.of("https://a.example/one/x") == ("u", "p")
    assert known.of("https://a.example:443/two/x") == ("v", "q")
    assert known.inside("https://a.example/one/") == "https://u:p@a.example/one/"
    for other in (
        "https://a.example:8443/one/",
        "https://b.example/one/",
        "https://c.example/",
        "https://c.example:8080/",
    ):
        assert known.of(other) is None
    known.add("https://a.example/", ("own", "one"))
    assert known.of("https://a.example/one/x") == ("own", "one")


@pytest.mark.parametrize("name", ["my-idx", "My.Idx", "MY_IDX"])
def test_poetrys_variables(name: str) -> None:
    variables = {"POETRY_HTTP_BASIC_MY_IDX_USERNAME": "jane", "POETRY_HTTP_BASIC_MY_IDX_PASSWORD": "pw"}
    known = Credentials(environ=variables)
    known.learn("https://a.example/simple", name)
    assert known.of("https://a.example/files/x") == ("jane", "pw")
    assert known.of("https://b.example/files/x") is None


def test_credentials_are_taken_out() -> None:
    assert strip("https://u:p@a.example:8443/x?y#z") == "https://a.example:8443/x?y#z"
    assert redact("see https://u:p@a.example/ and http://v@b.example") == "see https://a.example/ and http://b.example"
    assert redact("https://a.example/@scope/x@1") == "https://a.example/@scope/x@1"


def test_nothing_shows_a_password(tmp_path: Path) -> None:
    settings = read({"index-url": "https://u:s3cret@a.example/", "proxy": "http://u:s3cret@proxy.example"})
    assert "s3cret" not in repr(settings)
    assert "s3cret" not in repr(Configuration(settings).credentials)


def test_an_index_with_a_port_that_is_no_number_is_named() -> None:
    with pytest.raises(MirrorError, match=r"pip's index https://index\.example:nine/simple is no address"):
        read({"index-url": "https://index.example:nine/simple"})


def test_pip_is_not_asked_before_somebody_wants_to_know(tmp_path: Path) -> None:
    configuration = Configuration.start(python=str(tmp_path / "nowhere"), at_once=False)
    with pytest.raises(MirrorError, match="cannot run"):
        _ = configuration.settings
