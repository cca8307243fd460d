"""Which hosts may be asked, and how many times at once.

A URL in a manifest can point at anything that the worker reaches: the services of its own machine, the
neighbours in its network, the cloud's metadata server with its keys. So only public addresses are connected
to unless the user says otherwise, and an address is judged after names are resolved.
"""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from transforms.core.errors import AudioError

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_NOT_PUBLIC = (  # what `ipaddress` takes for public, or took in some release of Python 3.11
    IPv4Network("192.0.0.0/24"),  # protocols' own; Oracle's metadata server
    IPv4Network("168.63.129.16/32"),  # Azure's host, as its virtual machines see it
    IPv6Network("2001::/23"),  # protocols' own, Teredo
    IPv6Network("3fff::/20"),  # documentation
)
_SCHEMES_WITH_HOSTS = frozenset({"http", "https", "ftp", "sftp", "ssh", "smb", "webhdfs", "hdfs", "webdav"})


def is_public(address: str) -> bool:
    """Whether an IP address is of the public internet, also by the IPv4 address that an IPv6 one embeds.

    Args:
        address: as numbers, perhaps with a zone (`fe80::1%eth0`).

    Raises:
        ValueError: it is no IP address.
    """
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address):
        embedded = _embedded(ip)
        if embedded is None:
            return ip in _GLOBAL_UNICAST and _is_plain(ip)
        ip = embedded
    return _is_plain(ip)


def _is_plain(ip: IPv4Address | IPv6Address) -> bool:
    is_special = ip.is_multicast or ip.is_reserved or any(ip in network for network in _NOT_PUBLIC)
    return ip.is_global and not is_special


def _embedded(ip: IPv6Address) -> IPv4Address | None:
    if ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    if ip.sixtofour is not None:
        return ip.sixtofour
    return IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else None


def public_addresses(host: str, port: int | None) -> list[str]:
    """Resolves a name; all of its addresses are public.

    Raises:
        AudioError: `forbidden_host`, when one of them is not.
        OSError: it cannot be resolved.
    """
    found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(place[0]) for *_, place in found))
    for address in addresses:
        check_public(address, host)
    return addresses


def check_public(address: str, host: str) -> None:
    """Raises `AudioError` (`forbidden_host`) unless the address of a host is public."""
    if not is_public(address):
        name = host if host.strip("[]") == address else f"{host}, at {address},"
        message = f"{name} is no public address; --allow_private_hosts fetches from such hosts, too"
        raise AudioError("fetch", "forbidden_host", message)


def check_hosts_named(url: str) -> None:
    """Raises `AudioError` (`forbidden_host`) if a URL, chained or not, names a host that is not public.

    For file systems whose connections are not ours: the name is resolved here, and by them again. A name that
    cannot be resolved is theirs to complain of.
    """
    for link in url.split("::"):
        if link.partition("://")[0].lower() in _SCHEMES_WITH_HOSTS:
            try:
                public_addresses(urlsplit(link).hostname or "", None)
            except (OSError, ValueError):
                continue


SILENT_AFTER = 5
"""Downloads in a row of which a host answered no attempt, until it counts as silent."""


class HostSlots:
    """Bounds how many downloads a process has under way from a host, and knows which hosts are silent."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()
        self._unanswered: Counter[str] = Counter()
        self._changed = threading.Condition()

    @contextmanager
    def slot(self, host: str, most: int, timeout_s: float) -> Iterator[None]:
        """Waits until fewer than `most` others hold a slot of the host, and holds one.

        Raises:
            AudioError: `timeout`, when none was free in time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._taken[host] < most, timeout=max(timeout_s, 0)):
                message = f"{most} other downloads from {host} took all of the {timeout_s:.0f} s there were"
                raise AudioError("fetch", "timeout", message, retryable=True)
            self._taken[host] += 1
        try:
            yield
        finally:
            with self._changed:
                self._taken[host] -= 1
                if not self._taken[host]:
                    del self._taken[host]
                self._changed.notify_all()

    def is_silent(self, host: str) -> bool:
        """Whether the last downloads from a host all were given up without any answer."""
        with self._changed:
            return self._unanswered.get(host, 0) >= SILENT_AFTER

    def answered(self, host: str) -> None:
        """Says that a host answered, whatever it said."""
        with self._changed:
            self._unanswered.pop(host, None)

    def given_up(self, host: str) -> None:
        """Says that a download was given up; it counts if the host has not answered since."""
        with self._changed:
            self._unanswered[host] += 1


HOSTS = HostSlots()
"""Of this process."""
