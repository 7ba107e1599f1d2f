"""The edge on loopback: nginx with njs, set up from the shipped template as its distribution, before a private bucket.

The shipped function runs before the cache, as in CloudFront; behaviors, times to live, headers and the function itself
are read from the template, and the template's bucket policy is enforced by the store. The origin is asked with a
signature (SigV4), as a distribution with OAC asks. What is invalidated is gone from the cache at once.
"""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mirror.infra.policy import VERSION
from mirror.infra.template import template
from tests.cloudfront_stand_in import wildcard_matches
from tests.s3.servers import answers, free_port, make_certificate, running, wait
from tests.templates import Resolver

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mirror.infra.blueprint import Blueprint
    from tests.s3.servers import Server

_HOST = Path(__file__).with_name("edge_host.js")
_READER = "arn:aws:iam:::user/deploy"
"""The second user of the gateway stands for CloudFront."""

_NGINX = """\
load_module {module};
daemon off;
user root;
worker_processes 2;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 512; }}
http {{
  log_format edge '$msec $status $upstream_cache_status $request_method $request_uri -> $key';
  access_log {folder}/access.log edge;
  server_tokens off;
  js_path {folder};
  js_import edge from edge.js;
  js_var $key;
  js_var $target;
  js_var $date;
  js_var $signature;
  js_var $origin;
  map $http_origin $everybody {{ "" ""; default "*"; }}
  client_body_temp_path {folder}/tmp/client;
  proxy_temp_path {folder}/tmp/proxy;
  fastcgi_temp_path {folder}/tmp/fastcgi;
  uwsgi_temp_path {folder}/tmp/uwsgi;
  scgi_temp_path {folder}/tmp/scgi;
  proxy_cache_path {folder}/cache levels=1:2 keys_zone=edge:10m inactive=1d use_temp_path=off;
  upstream origin {{ server {origin}; keepalive 16; }}
  server {{
    listen 127.0.0.1:{port};
    listen 127.0.0.1:{tls_port} ssl http2;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    merge_slashes off;
    absolute_redirect off;
    proxy_http_version 1.1;
    proxy_set_header Host {origin};
    proxy_set_header Connection "";
    proxy_set_header Accept-Encoding "";
    proxy_set_header Origin $origin;
    proxy_set_header Authorization $signature;
    proxy_set_header X-Amz-Date $date;
    proxy_set_header X-Amz-Content-Sha256 {nothing};
    proxy_cache edge;
    proxy_cache_key $key;
    proxy_cache_lock on;
    location / {{ js_content edge.viewer; }}
{behaviors}  }}
}}
"""
_BEHAVIOR = """\
    location = /behavior-{name} {{
      internal;
      proxy_pass http://origin$target;
{directives}    }}
"""
_MANAGED = {"658327ea-f89d-4fab-a63d-7e88639e58f6": (1, 86_400, 31_536_000)}
"""Shortest, usual and longest time to live of a managed cache policy, in seconds."""
_SMALLEST_COMPRESSED = 1000
"""Bytes below which CloudFront compresses nothing."""


@dataclass(frozen=True, kw_only=True)
class Edge:
    """An edge that runs."""

    folder: Path
    port: int
    tls_port: int
    certificate: Path

    @property
    def url(self) -> str:
        """Where viewers find it without TLS."""
        return f"http://127.0.0.1:{self.port}/"

    def forget(self, paths: tuple[str, ...]) -> None:
        """Remove what an invalidation covers, as it is spelled: an exact path, or all that begin alike."""
        with self._forgotten.open("a", encoding="utf-8") as stream:
            stream.write("".join(f"{path}\n" for path in paths))
        for path, file in self._entries():
            if any(wildcard_matches(one, path) for one in paths):
                file.unlink(missing_ok=True)

    def cached(self) -> set[str]:
        """The paths that are held."""
        return {path for path, _ in self._entries()}

    @property
    def log(self) -> list[list[str]]:
        """Every request: time, status, what the cache said, method, path."""
        return [line.split() for line in (self.folder / "access.log").read_text("utf-8").splitlines()]

    @property
    def _forgotten(self) -> Path:
        return self.folder / "forgotten"

    def _entries(self) -> Iterator[tuple[str, Path]]:
        for file in self.folder.glob("cache/*/*/*"):
            head = b""
            with suppress(FileNotFoundError), file.open("rb") as stream:
                head = stream.read(4096)
            # A file that is being written has no key yet.
            if b"\nKEY: " in head:
                yield head.partition(b"\nKEY: ")[2].partition(b"\n")[0].decode().rpartition("#")[0], file


def resolved(blueprint: Blueprint) -> Resolver:
    """The template of a blueprint, as it would stand in the account."""
    return Resolver(template(blueprint), stack=blueprint.stack, region=blueprint.region)


@contextmanager
def edge(
    folder: Path,
    environment: Mapping[str, str],
    server: Server,
    stack: Resolver,
    identity: tuple[Path, Path] | None = None,
) -> Iterator[Edge]:
    """Run the edge of a stack, before its bucket on `server`; `identity` is a certificate and its key."""
    certificate, key = identity or make_certificate(folder)
    (folder / "tmp").mkdir()
    (folder / "forgotten").touch()
    made = Edge(folder=folder, port=free_port(), tls_port=free_port(), certificate=certificate)
    configuration = _distribution(stack)
    (folder / "edge.js").write_text(_script(stack, configuration, server, folder / "forgotten"), "utf-8")
    (folder / "nginx.conf").write_text(
        _NGINX.format(
            module=_module(), folder=folder, origin=urlsplit(server.endpoint).netloc, nothing=_NOTHING,
            port=made.port, tls_port=made.tls_port, certificate=certificate, key=key,
            behaviors="".join(_behaviors(stack, configuration)),
        ), "utf-8",
    )  # fmt: skip
    with running(folder, "nginx", ("nginx", "-p", folder, "-c", folder / "nginx.conf"), environment) as process:
        # A path that the function answers by itself, so that nothing is cached by asking.
        wait(lambda: answers(f"{made.url}robots.txt"), "nginx", [process])
        yield made


_NOTHING = hashlib.sha256(b"").hexdigest()


def _module() -> Path:
    stated = subprocess.run(("nginx", "-V"), capture_output=True, text=True, check=True).stderr
    found = next(part for part in stated.split() if part.startswith("--modules-path="))
    return Path(found.partition("=")[2]) / "ngx_http_js_module.so"


def _distribution(resolver: Resolver) -> dict[str, Any]:
    found: dict[str, Any] = resolver.properties("Distribution")["DistributionConfig"]
    return found


def _script(resolver: Resolver, configuration: dict[str, Any], server: Server, forgotten: Path) -> str:
    """The shipped function, and what runs it."""
    access, secret = server.second
    facts = {
        "origin": urlsplit(server.endpoint).netloc,
        "bucket": resolver.reference("Bucket"),
        "region": resolver.pseudo["AWS::Region"],
        "access": access,
        "secret": secret,
        "nothing": _NOTHING,
        "forgotten": str(forgotten),
        "root": configuration["DefaultRootObject"],
        "methods": configuration["DefaultCacheBehavior"]["AllowedMethods"],
        "behaviors": [each["PathPattern"].removesuffix("*") for each in configuration["CacheBehaviors"]],
        "keyed": [
            "Origin" in _keyed(resolver, each["CachePolicyId"])
            for each in (*configuration["CacheBehaviors"], configuration["DefaultCacheBehavior"])
        ],
    }
    code = resolver.properties("EdgeFunction")["FunctionCode"]
    return f"{code}\nconst EDGE = {json.dumps(facts)};\n{_HOST.read_text('utf-8')}"


def _behaviors(resolver: Resolver, configuration: dict[str, Any]) -> Iterator[str]:
    errors = {each["ErrorCode"]: each["ErrorCachingMinTTL"] for each in configuration["CustomErrorResponses"]}
    numbered = [(str(number), each) for number, each in enumerate(configuration["CacheBehaviors"])]
    for name, behavior in (("default", configuration["DefaultCacheBehavior"]), *numbered):
        lines = [
            *_times(_policy(resolver, behavior["CachePolicyId"])),
            *(f"proxy_cache_valid {code} {seconds}s" for code, seconds in errors.items()),
            *_headers(resolver, behavior["ResponseHeadersPolicyId"]),
            *(_compression() if behavior["Compress"] else ()),
        ]
        yield _BEHAVIOR.format(name=name, directives="".join(f"      {line};\n" for line in lines))


def _policy(resolver: Resolver, identity: str) -> tuple[int, int, int]:
    if identity in _MANAGED:
        return _MANAGED[identity]
    name = identity.removesuffix("-id")
    stated = resolver.properties(name)["CachePolicyConfig"]
    return stated["MinTTL"], stated["DefaultTTL"], stated["MaxTTL"]


def _keyed(resolver: Resolver, identity: str) -> list[str]:
    """Headers that are part of the cache key, and so reach the origin."""
    if identity in _MANAGED:
        return []
    stated = resolver.properties(identity.removesuffix("-id"))["CachePolicyConfig"]
    headers: list[str] = stated["ParametersInCacheKeyAndForwardedToOrigin"]["HeadersConfig"].get("Headers", [])
    return headers


def _times(policy: tuple[int, int, int]) -> Iterator[str]:
    shortest, usual, _ = policy
    # nginx knows no shortest time: where it is longer than any origin would say, it is the time.
    yield "proxy_ignore_headers Vary Set-Cookie" + (" Cache-Control Expires" if shortest == usual else "")
    yield f"proxy_cache_valid 200 {usual}s"


def _headers(resolver: Resolver, identity: str) -> Iterator[str]:
    stated = resolver.properties(identity.removesuffix("-id"))["ResponseHeadersPolicyConfig"]
    for each in stated["RemoveHeadersConfig"]["Items"]:
        yield f"proxy_hide_header {each['Header']}"
    security = stated["SecurityHeadersConfig"]
    content = security.get("ContentSecurityPolicy", {}).get("ContentSecurityPolicy")
    age = security["StrictTransportSecurity"]["AccessControlMaxAgeSec"]
    sent = {each["Header"]: each["Value"] for each in stated.get("CustomHeadersConfig", {"Items": []})["Items"]}
    for name in sent:
        yield f"proxy_hide_header {name}"
    if "CorsConfig" in stated:
        assert stated["CorsConfig"]["AccessControlAllowOrigins"] == {"Items": ["*"]}
        sent["Access-Control-Allow-Origin"] = "$everybody"
    sent |= {"X-Content-Type-Options": "nosniff", "Strict-Transport-Security": f"max-age={age}"}
    for name, value in {**sent, **({"Content-Security-Policy": content} if content else {})}.items():
        yield f'add_header {name} "{value}" always'
    yield "add_header X-Cache $upstream_cache_status always"


def _compression() -> tuple[str, ...]:
    return ("gzip on", "gzip_types application/json", "gzip_proxied any", f"gzip_min_length {_SMALLEST_COMPRESSED}")


def bucket_policy(stack: Resolver) -> str:
    """The policy of a stack's bucket as the gateway takes it: a user in CloudFront's place, TLS left out."""
    statements = [
        {
            **{name: value for name, value in statement.items() if name != "Condition"},
            "Principal": {"AWS": [_READER]},
        }
        for statement in stack.properties("BucketPolicy")["PolicyDocument"]["Statement"]
        if statement["Principal"] == {"Service": "cloudfront.amazonaws.com"}
    ]
    return json.dumps({"Version": VERSION, "Statement": statements})


# Leading clients to it under its own name


class Tunnel(ThreadingTCPServer):
    """A proxy that leads `https://host/` to a port of this machine, once that is set, and nothing anywhere else."""

    daemon_threads = True

    def __init__(self, host: str) -> None:
        super().__init__(("127.0.0.1", 0), _Tunnelling)
        self.host = host
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that are killed leave in the middle."""


class _Tunnelling(StreamRequestHandler):
    server: Tunnel

    def handle(self) -> None:
        method, _, rest = self.rfile.readline().decode("latin-1").partition(" ")
        while self.rfile.readline().strip():
            pass
        tunnel = self.server
        if method != "CONNECT" or rest.split(" ")[0] != f"{tunnel.host}:443" or not tunnel.port:
            self.wfile.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            return
        with socket.create_connection(("127.0.0.1", tunnel.port)) as other:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_pour, args=(other, self.connection), daemon=True)
            back.start()
            _pour(self.connection, other)
            back.join()


def _pour(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@contextmanager
def tunnel(host: str) -> Iterator[Tunnel]:
    """Run the proxy for a host."""
    with Tunnel(host) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
