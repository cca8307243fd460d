"""Which addresses downloads may connect to: protection against server-side request forgery (SSRF).

A URL in a manifest can point to anything that a worker can reach: services of its own machine, other machines
of its network, the cloud's metadata server with its keys. So downloads connect to public addresses only,
unless the user allows others, and addresses are checked after names are resolved.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from transforms.core.errors import AudioError

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_NOT_PUBLIC = (  # public according to `ipaddress`, or to that of some release of Python 3.11
    IPv4Network("192.0.0.0/24"),  # protocol assignments; Oracle's metadata server
    IPv4Network("168.63.129.16/32"),  # Azure's host, from within its virtual machines
    IPv6Network("2001::/23"),  # protocol assignments, Teredo
    IPv6Network("3fff::/20"),  # documentation
)
_SCHEMES_WITH_HOSTS = frozenset({"http", "https", "ftp", "sftp", "ssh", "smb", "webhdfs", "hdfs", "webdav"})


def is_public(address: str) -> bool:
    """Whether an IP address is public; an IPv6 address with an embedded IPv4 address is judged by that.

    Args:
        address: numeric, with or without a zone (`fe80::1%eth0`).

    Raises:
        ValueError: it is not an IP address.
    """
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address):
        embedded = _embedded(ip)
        if embedded is None:
            return ip in _GLOBAL_UNICAST and _is_global(ip)
        ip = embedded
    return _is_global(ip)


def _is_global(ip: IPv4Address | IPv6Address) -> bool:
    is_special = ip.is_multicast or ip.is_reserved or any(ip in network for network in _NOT_PUBLIC)
    return ip.is_global and not is_special


def _embedded(ip: IPv6Address) -> IPv4Address | None:
    if ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    if ip.sixtofour is not None:
        return ip.sixtofour
    return IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else None


def addresses_of(host: str, port: int | None) -> list[str]:
    """Resolves a name to its addresses.

    Raises:
        OSError: the name cannot be resolved.
    """
    found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(socket_address[0]) for *_, socket_address in found))


def public_addresses(host: str, port: int | None) -> list[str]:
    """Resolves a name to addresses, which must all be public.

    Raises:
        AudioError: `forbidden_host`, if an address is not public.
        OSError: the name cannot be resolved.
    """
    addresses = addresses_of(host, port)
    for address in addresses:
        check_public(address, host)
    return addresses


def check_public(address: str, host: str) -> None:
    """Raises `AudioError` (`forbidden_host`) unless the address of a host is public."""
    if not is_public(address):
        name = host if host.strip("[]") == address else f"{host}, at {address},"
        message = f"{name} is not a public address; --allow_private_hosts also fetches from such hosts"
        raise AudioError("fetch", "forbidden_host", message)


def check_hosts_named(url: str) -> None:
    """Raises `AudioError` (`forbidden_host`) if a URL, chained or not, names a host that is not public.

    For file systems whose connections cannot be guarded: the name is resolved here, and again by them. Names
    that cannot be resolved are left to the file system, which reports them.
    """
    for link in url.split("::"):
        if link.partition("://")[0].lower() in _SCHEMES_WITH_HOSTS:
            try:
                public_addresses(urlsplit(link).hostname or "", None)
            except (OSError, ValueError):
                continue
