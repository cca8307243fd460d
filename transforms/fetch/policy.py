"""The fetch policy: which URIs may be fetched, and limits of time, size and attempts."""

from __future__ import annotations

from dataclasses import dataclass, field

from model.interface import option

GIB = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of a download besides the total time. Times are in seconds.

    Attributes:
        connect_s: maximum time to connect to one address.
        read_s: maximum time until the headers of an answer have arrived, and then between two bytes.
        stall_s: the period over which the rate is measured.
        min_bytes_per_s: a lower rate over `stall_s` aborts an attempt.
        redirects: maximum number of redirects in one attempt.
        attempts: maximum number of attempts without progress.
        give_up_s: without progress, no attempt begins later than this.
        progress_bytes: the growth of a download that counts as progress.
        back_off_s: the wait before the second attempt; each further one is twice as long.
        max_wait_s: the maximum wait between two attempts, also when a server asks for a longer one.
        bytes_each: maximum size of one recording.
        bytes_total: maximum size of all copies of a process at a time.
        bytes_in_memory: maximum size of a copy in memory; a larger one is on the disk.
        bytes_left_free: space of the disk that copies leave free.
        per_host: maximum number of downloads of a process from one host at a time.
    """

    connect_s: float = 10.0
    read_s: float = 30.0
    stall_s: float = 30.0
    min_bytes_per_s: float = 1000.0  # a fifth of what speech takes at the lowest rates of Opus and AMR
    redirects: int = 5
    attempts: int = 8  # of 10,000 downloads from a server that fails three times in ten, 0.7 are lost
    give_up_s: float = 90.0
    progress_bytes: int = 1 << 20
    back_off_s: float = 0.5
    max_wait_s: float = 60.0
    bytes_each: int = 16 * GIB  # 10 hours of 24-bit stereo at 48 kHz are 10 GB
    bytes_total: int = 64 * GIB
    bytes_in_memory: int = 32 << 20
    bytes_left_free: int = GIB
    per_host: int = 8


@dataclass(frozen=True, kw_only=True)
class FetchOptions:
    """The options that permit URIs to be fetched, and limit the time of a download."""

    allow_private_hosts: bool = option(
        False,
        "also fetch from loopback, private and link-local addresses; without it, a URL or redirect that "
        "leads there is refused",
        shapes_output=False,
    )
    trust_manifests: bool = option(
        False,
        "let manifests and datasets name anything: file:// and chained URLs, other file systems, and local "
        "files in a list from elsewhere",
        shapes_output=False,
    )
    fetch_timeout_s: float = option(
        3600.0,
        "seconds for a download, with all its attempts",
        metavar="SECONDS",
        minimum=1,
        maximum=7 * 86_400,
        shapes_output=False,
    )


@dataclass(frozen=True, kw_only=True)
class FetchPolicy(FetchOptions):
    """The options of fetching, with the limits of each download."""

    limits: Limits = field(default_factory=Limits)


DEFAULT_POLICY = FetchPolicy()
"""The policy by default."""
