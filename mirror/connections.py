"""Connections to hosts, as the user's own pip makes them: through which proxy, and with which certificates trusted."""

from __future__ import annotations

import ssl
import threading
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies, getproxies_environment, proxy_bypass

import truststore
import urllib3
from urllib3.exceptions import DependencyWarning, InsecureRequestWarning

from mirror.credentials import basic, origin, redact, strip, userinfo
from mirror.errors import MirrorError, RemoteError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mirror.downloads.configuration import Network


class Connections:
    """Pools of them, which are kept open. Safe for several threads."""

    def __init__(self, network: Network, environ: Mapping[str, str], size: int) -> None:
        """Keep up to `size` open to each host. Raise `MirrorError` for a certificate that cannot be read."""
        self._network = network
        self._size = size
        # One context for all: reading the certificates anew for each connection would take 20 ms of it.
        self._context = _context(network, environ)
        self._managers: dict[tuple[str, bool], urllib3.PoolManager] = {}
        self._places: dict[tuple[str, str, int | None], urllib3.PoolManager] = {}
        self._lock = threading.Lock()

    def to(self, url: str) -> urllib3.PoolManager:
        """Those that lead to a URL.

        Raise `RemoteError` when its proxy cannot be used, `ValueError` for what is no address.
        """
        place = origin(url)
        with self._lock:
            if place not in self._places:
                proxy = self._network.proxy or _proxy(url)
                kind = proxy, self.trusts(url)
                if kind not in self._managers:
                    self._managers[kind] = self._manager(*kind)
                self._places[place] = self._managers[kind]
            return self._places[place]

    def trusts(self, url: str) -> bool:
        """Whether the host of a URL is believed without a certificate: named as trusted, with its port or without."""
        parts = urlsplit(strip(url))
        place = parts.netloc.lower()
        names = {parts.hostname, place, place.removesuffix(f":{parts.port}")}
        return not names.isdisjoint(self._network.trusted_hosts)

    def close(self) -> None:
        """Close every one."""
        for manager in self._managers.values():
            manager.clear()

    def _manager(self, proxy: str, unchecked: bool) -> urllib3.PoolManager:
        context = _unchecked() if unchecked else self._context
        if not proxy:
            return urllib3.PoolManager(num_pools=self._size, maxsize=self._size, ssl_context=context)
        # Without a scheme, as many people write it.
        proxy = proxy if "://" in proxy else f"http://{proxy}"
        user, password = userinfo(proxy) or (None, None)
        if proxy.startswith("socks"):
            # What it needs is found out as late as that.
            urllib3.disable_warnings(DependencyWarning)
            try:
                from urllib3.contrib.socks import SOCKSProxyManager  # noqa: PLC0415
            except ImportError as error:
                raise RemoteError(
                    f"the proxy {redact(proxy)} speaks SOCKS, and that needs PySocks",
                    hint="pip install pysocks, or name a proxy that speaks HTTP",
                ) from error
            return SOCKSProxyManager(
                strip(proxy), user, password, num_pools=self._size, maxsize=self._size, ssl_context=context
            )
        return urllib3.ProxyManager(
            strip(proxy),
            num_pools=self._size,
            maxsize=self._size,
            proxy_headers={} if user is None else {"Proxy-Authorization": basic(user, password or "")},
            proxy_ssl_context=self._context,
            ssl_context=context,
        )


def _proxy(url: str) -> str:
    """What the environment, or the system, names for a URL; empty for none."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    exempt = getproxies_environment().get("no", "")
    if proxy_bypass(host) or (parts.port and proxy_bypass(f"{host}:{parts.port}")) or _within(host, exempt):
        return ""
    named = getproxies()
    return named.get(parts.scheme) or named.get("all", "")


def _within(host: str, networks: str) -> bool:
    """Whether a host is an IP address in one of the networks, `10.0.0.0/8,…`; pip knows them in `no_proxy`."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    for text in networks.split(","):
        try:
            if "/" in text and address in ip_network(text.strip(), strict=False):
                return True
        except ValueError:
            continue  # a name, or nothing that can be told
    return False


def _context(network: Network, environ: Mapping[str, str]) -> ssl.SSLContext:
    place = network.cert or environ.get("REQUESTS_CA_BUNDLE") or environ.get("CURL_CA_BUNDLE") or ""
    try:
        context = _trusting(place) if place else truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if network.client_cert:
            context.load_cert_chain(network.client_cert)
    except (OSError, ssl.SSLError) as error:
        named = network.client_cert if place and Path(place).exists() else place or network.client_cert
        raise MirrorError(
            f"cannot read the certificates in {named}: {error.strerror or error}",
            hint="see pip's options cert and client-cert",
        ) from error
    return context


def _trusting(place: str) -> ssl.SSLContext:
    folder = Path(place).is_dir()
    return ssl.create_default_context(cafile=None if folder else place, capath=place if folder else None)


def _unchecked() -> ssl.SSLContext:
    urllib3.disable_warnings(InsecureRequestWarning)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
