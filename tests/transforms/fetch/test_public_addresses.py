from __future__ import annotations

import socket
from typing import Any

import pytest

from transforms.core.errors import AudioError
from transforms.fetch.public_addresses import check_hosts_named, is_public, public_addresses


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.9.1", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255",
        "192.168.1.1", "169.254.169.254", "100.64.0.1", "100.100.100.200", "192.0.0.192", "192.0.2.1",
        "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "168.63.129.16",
        "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1",
        "100::1", "2001:db8::1", "5f00::1", "::127.0.0.1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe",
        "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808",
        "2002:7f00:1::", "2002:a9fe:a9fe::1", "2002:c0a8:101::", "2001::1", "2001:0:808:808::f5ff:fffe",
    ],
)  # fmt: skip
def test_special_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "223.255.255.254", "168.63.129.17",
        "2606:4700::1111", "2a00:1450:4001::1", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1",
    ],
)  # fmt: skip
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "::1", "2130706433", "0x7f.1", "0177.0.0.1", "0"]
)
def test_all_spellings_of_loopback_are_refused(host: str) -> None:
    with pytest.raises(AudioError, match=r"is not a public address; --allow_private_hosts") as caught:
        public_addresses(host, 80)
    assert (caught.value.kind, caught.value.retryable) == ("forbidden_host", False)


def test_host_with_one_private_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: object, **__: object) -> list[Any]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80))
            for address in ("8.8.8.8", "192.168.7.7")
        ]

    monkeypatch.setattr("socket.getaddrinfo", resolve)
    with pytest.raises(AudioError, match=r"^fetch: forbidden_host: h\.example, at 192\.168\.7\.7, is no"):
        public_addresses("h.example", 80)


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1/a.wav", "simplecache::https://u:p@localhost/a.wav", "zip://a::http://0/b.zip"]
)
def test_hosts_of_fsspec_urls_are_checked(url: str) -> None:
    with pytest.raises(AudioError, match="forbidden_host"):
        check_hosts_named(url)


@pytest.mark.parametrize("url", ["s3://localhost/a.wav", "memory://127.0.0.1/a", "http://unknown.invalid/a"])
def test_unresolvable_hosts_are_left_to_the_file_system(url: str) -> None:
    check_hosts_named(url)
