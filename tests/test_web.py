"""The door to HTTP: proxies, certificates, credentials and redirects, against real hosts and proxies on loopback."""

from __future__ import annotations

import base64
import gzip
import shutil
import socket
import ssl
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

from mirror.credentials import Credentials, strip
from mirror.downloads.configuration import Network
from mirror.errors import MirrorError, RemoteError
from mirror.web import Unreachable, Web

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from mirror.web import Reply

BODY = b"0123456789" * 100
LIMIT = 1 << 20


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    method: str
    target: str
    headers: Mapping[str, str]
    port: int
    """Of the client: the same for all that come over one connection."""

    @property
    def who(self) -> str:
        """User and password of `Authorization`, or nothing."""
        return base64.b64decode(self.headers.get("Authorization", "").removeprefix("Basic ")).decode()


@dataclass
class Host:
    """A host that moves people on, or a proxy that answers in other hosts' place and lets through to others."""

    url: str
    asked: list[Asked] = field(default_factory=list)
    moved: dict[str, str] = field(default_factory=dict)
    """Where to, by what is asked for."""
    tunnels: dict[str, int] = field(default_factory=dict)
    """Ports on loopback, by `host:port`."""

    @property
    def targets(self) -> list[str]:
        return [asked.target for asked in self.asked]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    @property
    def host(self) -> Host:
        return self.server.host

    def do_GET(self) -> None:
        self._note()
        if self.path in self.host.moved:
            self._send(301, b"It is elsewhere.", Location=self.host.moved[self.path])
        elif self.path.endswith("/silent"):
            time.sleep(0.5)
        elif self.path.endswith("/zipped"):
            self._send(200, gzip.compress(BODY), Content_Encoding="gzip")
        else:
            self._send(200, BODY, Via="1.1 one")

    do_HEAD = do_GET  # noqa: N815

    def do_CONNECT(self) -> None:
        self._note()
        with socket.create_connection(("127.0.0.1", self.host.tunnels[self.path])) as far:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=_carry, args=(far, self.connection))
            back.start()
            _carry(self.connection, far)
            back.join()
        self.close_connection = True

    def _note(self) -> None:
        self.host.asked.append(Asked(self.command, self.path, dict(self.headers), self.client_address[1]))

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Via", "1.1 two")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


def _carry(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        """Whoever hangs up ends the tunnel."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    host: Host

    def handle_error(self, *_: object) -> None:
        """A client that refuses our certificate is part of the game."""


@contextmanager
def host(context: ssl.SSLContext | None = None) -> Iterator[Host]:
    with _Server(("127.0.0.1", 0), _Handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        server.host = Host(f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}/")
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server.host
        server.shutdown()


@pytest.fixture
def site() -> Iterator[Host]:
    with host() as found:
        yield found


@pytest.fixture
def proxy() -> Iterator[Host]:
    with host() as found:
        yield found


@dataclass
class Asking:
    """A `Web` for one test."""

    network: Network = field(default_factory=lambda: Network(retries=0, timeout=10))
    credentials: Credentials = field(default_factory=Credentials)
    environ: Mapping[str, str] = field(default_factory=dict)

    def __enter__(self) -> Asking:
        self.web = Web(self.network, self.credentials, self.environ, connections=2)
        return self

    def __exit__(self, *_: object) -> None:
        self.web.close()

    def get(self, url: str, headers: Mapping[str, str] | None = None, *, follow: bool = True) -> Reply:
        """Ask, and read the whole answer."""
        with self.web.request("GET", url, headers or {}, follow=follow) as reply:
            reply.body(LIMIT)
            return reply


def network(**options: Any) -> Network:
    return Network(**{"retries": 0, "timeout": 10.0, **options})


# What is asked and answered


def test_what_every_host_is_told(site: Host) -> None:
    with Asking() as asking:
        asking.get(f"{site.url}a", {"Accept": "text/html"})
        asking.get(f"{site.url}b")
    first, second = site.asked
    assert first.headers["User-Agent"].startswith("mirror/")
    assert first.headers["Accept"] == "text/html"
    assert second.headers["Accept"] == "*/*"
    assert "gzip" in second.headers["Accept-Encoding"]
    assert "Authorization" not in second.headers
    assert first.port == second.port, "a connection is kept"


def test_bodies_are_unpacked_or_left_as_they_are(site: Host) -> None:
    with Asking() as asking:
        with asking.web.request("GET", f"{site.url}zipped", {}) as reply:
            assert reply.body(LIMIT) == BODY
        with asking.web.request("GET", f"{site.url}zipped", {}) as reply:
            assert gzip.decompress(b"".join(bytes(chunk) for chunk in reply.chunks())) == BODY


def test_headers_of_one_name_are_one_and_their_case_does_not_matter(site: Host) -> None:
    with Asking() as asking:
        reply = asking.get(site.url)
    assert (reply.headers["via"], reply.headers.get("VIA")) == ("1.1 one, 1.1 two",) * 2
    assert list(reply.headers).count("Via") == 1


def test_a_fragment_is_never_sent(site: Host) -> None:
    with Asking() as asking:
        asking.get(f"{site.url}a+b%2Bc?d=e#sha256=0")
    assert site.targets == ["/a+b%2Bc?d=e"]


@pytest.mark.parametrize("url", ["http://[::1/", "http://host.example:port/", "http:///x", "ftp://host.example/"])
def test_what_is_no_address_is_no_silence(url: str) -> None:
    with Asking() as asking, pytest.raises(RemoteError) as caught:
        asking.get(url)
    assert not isinstance(caught.value, Unreachable)


def test_why_a_host_is_silent_is_said_in_plain_words(site: Host) -> None:
    with Asking() as asking, pytest.raises(Unreachable) as caught:
        asking.get("http://127.0.0.1:9/x")
    assert caught.value.message.startswith("http://127.0.0.1:9/x: Failed to establish a new connection: ")
    with Asking(network=network(timeout=0.1)) as asking, pytest.raises(Unreachable) as caught:
        asking.get(f"{site.url}silent")
    assert caught.value.message == f"{site.url}silent: Read timed out. (read timeout=0.1)"


# Redirects


def test_redirects_are_followed_over_the_same_connection(site: Host) -> None:
    site.moved = {"/old/": "../newer/", "/newer/": "//" + site.url.partition("//")[2] + "b%C3%BCcher"}
    with Asking() as asking:
        reply = asking.get(f"{site.url}old/")
    assert (reply.status, reply.url) == (200, f"{site.url}b%C3%BCcher")
    assert site.targets == ["/old/", "/newer/", "/b%C3%BCcher"]
    assert len({asked.port for asked in site.asked}) == 1


def test_a_redirect_that_is_not_quoted_is(site: Host) -> None:
    site.moved = {"/old": "/b\u00fccher und mehr".encode().decode("latin-1")}
    with Asking() as asking:
        assert asking.get(f"{site.url}old").status == 200
    assert site.targets == ["/old", "/b%C3%BCcher%20und%20mehr"]


def test_a_redirect_that_is_not_followed_is_an_answer(site: Host) -> None:
    site.moved = {"/old": "/new"}
    with Asking() as asking:
        reply = asking.get(f"{site.url}old", follow=False)
    assert (reply.status, reply.headers["Location"]) == (301, "/new")
    assert site.targets == ["/old"]


def test_ten_redirects_are_followed_and_no_more(site: Host) -> None:
    site.moved = {f"/{number}": f"/{number + 1}" for number in range(11)}
    with Asking() as asking:
        assert asking.get(f"{site.url}1").url == f"{site.url}11"
        with pytest.raises(RemoteError, match="redirects") as caught:
            asking.get(f"{site.url}0")
    assert not isinstance(caught.value, Unreachable)


@pytest.mark.parametrize("target", ["ftp://host.example/", "file:///etc/passwd", "http://host.example:port/"])
def test_a_redirect_to_what_is_no_web_site_is_not_followed(site: Host, target: str) -> None:
    site.moved = {"/old": target}
    with Asking() as asking, pytest.raises(RemoteError, match=r"127\.0\.0\.1") as caught:
        asking.get(f"{site.url}old")
    assert not isinstance(caught.value, Unreachable)


# Who asks


def test_credentials_by_origin_path_and_netrc(site: Host, home: Path) -> None:
    (home / ".netrc").write_text("machine 127.0.0.1 login net password rc\n")
    (home / ".netrc").chmod(0o600)
    inside = site.url.replace("://", "://in:s%C3%A9cret@")
    with Asking(credentials=Credentials([f"{inside}simple/"])) as asking:
        asking.get(f"{site.url}simple/a/")
    with Asking() as asking:
        asking.get(site.url)
        asking.get(inside)
    assert [asked.headers["Authorization"] for asked in site.asked] == [
        "Basic " + base64.b64encode(pair).decode() for pair in (b"in:s\xe9cret", b"net:rc", b"in:s\xe9cret")
    ]


@pytest.mark.parametrize(
    ("text", "who"),
    [
        ("default login any password body", "any:body"),
        ("machine elsewhere.example login a password b", ""),
        ("this is no netrc", ""),
    ],
)
def test_netrc_where_its_variable_says(site: Host, tmp_path: Path, text: str, who: str) -> None:
    (tmp_path / "rc").write_text(f"{text}\n")
    with Asking(environ={"NETRC": str(tmp_path / "rc")}) as asking:
        asking.get(site.url)
    assert [asked.who for asked in site.asked] == [who]


def test_behind_a_redirect_each_origin_is_told_its_own_credentials(site: Host, proxy: Host) -> None:
    other = proxy
    site.moved = {"/away": f"{other.url}x", "/home": "/x", "/named": other.url.replace("://", "://mal:lory@")}
    with Asking(credentials=Credentials([site.url.replace("://", "://in:side@")])) as asking:
        for path in ("away", "home", "named"):
            asking.get(f"{site.url}{path}")
    assert {asked.who for asked in site.asked} == {"in:side"}
    assert [asked.who for asked in other.asked] == ["", ""]


# Proxies


def test_pips_proxy_is_asked_for_everything(proxy: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    address = proxy.url.replace("://", "://us:p%40ss@")
    with Asking(network=network(proxy=address), credentials=Credentials(["http://a:b@index.example/"])) as asking:
        asking.get("http://a:b@index.example/simple/#x")
    (asked,) = proxy.asked
    assert asked.target == "http://index.example/simple/"
    assert asked.headers["Host"] == "index.example"
    assert asked.headers["Proxy-Authorization"] == "Basic " + base64.b64encode(b"us:p@ss").decode()
    assert asked.who == "a:b"


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_environment(proxy: Host, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    # Without a scheme, as many people write it.
    monkeypatch.setenv(variable, proxy.url.removeprefix("http://"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9/")
    with Asking() as asking:
        asking.get("http://index.example/a")
    assert proxy.targets == ["http://index.example/a"]


@pytest.mark.parametrize(
    ("url", "exempt", "direct"),
    [
        ("http://127.0.0.1:{port}/", "127.0.0.1", True),
        ("http://127.0.0.1:{port}/", "10.0.0.0/8, 127.0.0.0/8", True),
        ("http://127.0.0.1:{port}/", "127.0.0.1:{port}", True),
        ("http://127.0.0.1:{port}/", "*", True),
        ("http://127.0.0.1:{port}/", "10.0.0.0/8,127.0.1.0/24,nonsense/99", False),
        ("http://localhost:{port}/", "localhost", True),
        ("http://localhost:{port}/", "localhost:{port}", True),
        ("http://localhost:{port}/", "127.0.0.0/8", False),
        ("http://index.example/", "an.index.example,example.com", False),
        ("http://index.example/", "", False),
    ],
)
def test_who_is_asked_without_the_proxy_of_the_environment(
    site: Host, proxy: Host, monkeypatch: pytest.MonkeyPatch, url: str, exempt: str, direct: bool
) -> None:
    port = site.url.rpartition(":")[2].rstrip("/")
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.setenv("no_proxy", exempt.format(port=port))
    with Asking() as asking:
        asking.get(url.format(port=port))
    assert (len(site.asked), len(proxy.asked)) == ((1, 0) if direct else (0, 1))


def test_a_domain_is_exempt_with_all_that_is_below_it(proxy: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.setenv("no_proxy", ".invalid")
    with Asking() as asking, pytest.raises(Unreachable):
        asking.get("http://index.invalid/")
    assert not proxy.asked


def test_a_redirect_is_followed_through_its_own_proxy(site: Host, proxy: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    site.moved = {"/a": "http://files.example/a"}
    with Asking() as asking:
        asking.get(f"{site.url}a")
    assert proxy.targets == ["http://files.example/a"]


def test_a_host_whose_name_is_not_ascii(proxy: Host) -> None:
    with Asking(network=network(proxy=proxy.url)) as asking:
        asking.get("http://b\u00fccher.example/")
    assert proxy.targets == ["http://xn--bcher-kva.example/"]


def test_a_proxy_that_is_down_is_silence_and_its_password_is_not_shown() -> None:
    with (
        Asking(network=network(proxy="http://us:s3cret@127.0.0.1:9/")) as asking,
        pytest.raises(Unreachable) as caught,
    ):
        asking.get("http://index.example/")
    assert "s3cret" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.skipif(find_spec("socks") is not None, reason="PySocks is there")
def test_what_a_socks_proxy_needs_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5h://us:s3cret@127.0.0.1:9")
    with Asking() as asking, pytest.raises(RemoteError, match=r"socks5h://127\.0\.0\.1:9 speaks SOCKS") as caught:
        asking.get("http://index.example/")
    assert "PySocks" in f"{caught.value}"
    assert "pip install pysocks" in caught.value.hint


# Certificates

PLACES = ("cert", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "folder")


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate that signs itself, for loopback and for mirror.example."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl makes the certificates")
    folder = tmp_path_factory.mktemp("pems")
    command = [program, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=mirror.example"]
    names = "subjectAltName=DNS:mirror.example,IP:127.0.0.1"
    files = ["-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run([*command, "-addext", names, *files], cwd=folder, check=True, capture_output=True)
    (folder / "both.pem").write_bytes((folder / "key.pem").read_bytes() + (folder / "cert.pem").read_bytes())
    # A folder of certificates is searched by the hashes of their subjects.
    asked = [program, "x509", "-in", "cert.pem", "-noout", "-subject_hash"]
    name = subprocess.run(asked, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()
    (folder / "folder").mkdir()
    shutil.copy(folder / "cert.pem", folder / "folder" / f"{name}.0")
    return folder


@contextmanager
def secure(pems: Path, *, clients: bool = False) -> Iterator[Host]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pems / "both.pem")
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(pems / "cert.pem")
    with host(context) as found:
        yield found


@pytest.mark.parametrize("place", PLACES)
def test_certificates_are_trusted_as_pip_is_told(pems: Path, place: str) -> None:
    given = str(pems / ("folder" if place == "folder" else "cert.pem"))
    options = {"cert": given} if place in ("cert", "folder") else {}
    environ = {} if options else {place: given}
    with secure(pems) as site, Asking(network=network(**options), environ=environ) as asking:
        asking.get(site.url)
        asking.get(site.url)
        assert len({asked.port for asked in site.asked}) == 1


def test_a_certificate_that_nobody_knows_is_refused(pems: Path) -> None:
    with secure(pems) as site, Asking() as asking, pytest.raises(Unreachable, match=r"(?i)certificate"):
        asking.get(site.url)
    assert not site.asked


@pytest.mark.parametrize("trusted", ["127.0.0.1", "127.0.0.1:{port}", "127.0.0.1:1", "elsewhere.example"])
def test_a_trusted_host_is_not_asked_for_one(pems: Path, trusted: str) -> None:
    with secure(pems) as site:
        name = trusted.format(port=site.url.rpartition(":")[2].rstrip("/"))
        with Asking(network=network(trusted_hosts=(name,))) as asking:
            if name in ("127.0.0.1", site.url.split("/")[2]):
                asking.get(site.url)
            else:
                with pytest.raises(Unreachable):
                    asking.get(site.url)


def test_our_own_certificate_is_shown(pems: Path) -> None:
    with secure(pems, clients=True) as site:
        known = {"cert": str(pems / "cert.pem")}
        with Asking(network=network(**known, client_cert=str(pems / "both.pem"))) as asking:
            assert asking.get(site.url).status == 200
        with Asking(network=network(**known)) as asking, pytest.raises(RemoteError):
            asking.get(site.url)


@pytest.mark.parametrize("option", ["cert", "client_cert"])
def test_a_certificate_that_cannot_be_read_is_named(tmp_path: Path, option: str) -> None:
    with pytest.raises(MirrorError, match=r"absent\.pem"):
        Web(network(**{option: str(tmp_path / "absent.pem")}), Credentials(), {}, 1)


def test_tls_goes_through_a_proxy_that_sees_nothing_of_it(pems: Path, proxy: Host) -> None:
    with secure(pems) as site:
        proxy.tunnels = {"mirror.example:443": int(site.url.rpartition(":")[2].rstrip("/"))}
        options = network(cert=str(pems / "cert.pem"), proxy=proxy.url.replace("://", "://us:er@"))
        with Asking(network=options, credentials=Credentials(["https://a:b@mirror.example/"])) as asking:
            asking.get("https://mirror.example/simple/")
    (connect,) = proxy.asked
    assert (connect.method, connect.target) == ("CONNECT", "mirror.example:443")
    assert "Proxy-Authorization" in connect.headers
    assert connect.who == ""
    (asked,) = site.asked
    assert (asked.target, asked.who) == ("/simple/", "a:b")
    assert "Proxy-Authorization" not in asked.headers


@pytest.mark.parametrize("inside", [True, False])
def test_credentials_go_along_from_http_to_https(pems: Path, proxy: Host, *, inside: bool) -> None:
    """Most hosts send everybody on to https; the proxy stands in for the host of the first leg."""
    address = "http://a:b@mirror.example/"
    proxy.moved = {"http://mirror.example/x": "https://mirror.example/x"}
    with secure(pems) as site:
        proxy.tunnels = {"mirror.example:443": int(site.url.rpartition(":")[2].rstrip("/"))}
        options = network(cert=str(pems / "cert.pem"), proxy=proxy.url)
        with Asking(network=options, credentials=Credentials([] if inside else [address])) as asking:
            reply = asking.get(f"{address if inside else strip(address)}x")
    assert reply.url == "https://mirror.example/x"
    assert [asked.who for asked in site.asked] == ["a:b"]


def test_nobody_is_led_from_https_to_http(pems: Path, proxy: Host) -> None:
    with secure(pems) as site, Asking(network=network(cert=str(pems / "cert.pem"))) as asking:
        site.moved = {"/a": proxy.url}
        with pytest.raises(RemoteError, match="redirects to http"):
            asking.get(f"{site.url}a")
    assert not proxy.asked
