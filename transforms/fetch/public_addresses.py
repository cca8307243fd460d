"""Which hosts may be asked, and how many times at once.

A URL in a manifest can point at anything that the worker reaches: the services of its own machine, the
neighbours in its network, the cloud's metadata server with its keys. So only public addresses are connected
to unless the user says otherwise, and an address is judged after names are resolved.
"""

from __future__ import annotations

import socket
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
