"""What may be fetched, and how long, how much and how often: one frozen record, shipped to the workers."""

from __future__ import annotations

from dataclasses import dataclass, field

GIB = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of a download. Times are seconds.

    Attributes:
        connect_s: to connect to one address.
        read_s: until the headers of an answer are there, and then between two bytes.
        total_s: for a download with all its attempts and waits.
        stall_s: over how long the rate is taken.
        least_bytes_per_s: a lower rate over `stall_s` breaks an attempt off.
        redirects: followed at most, in one attempt.
        attempts: made at most without progress.
        give_up_s: without progress, no attempt begins later than this.
        progress_bytes: what a download must have grown by to count as progress.
        back_off_s: the wait before the second attempt; each further one is twice as long.
        longest_wait_s: the longest wait between two attempts, also when a server asks for a longer one.
        bytes_each: of one recording.
        bytes_held: of all copies that a process holds at once.
        bytes_in_memory: of a copy; a larger one goes to the disk.
        bytes_left_free: what copies leave free of the disk they are on.
        per_host: downloads that a process has under way from one host.
    """

    connect_s: float = 10.0
    read_s: float = 30.0
    total_s: float = 3600.0
    stall_s: float = 30.0
    least_bytes_per_s: float = 1000.0  # a fifth of what speech takes at the lowest rates of Opus and AMR
    redirects: int = 5
    attempts: int = 8  # of 10,000 downloads from a server that fails three times in ten, 0.7 are lost
    give_up_s: float = 90.0
    progress_bytes: int = 1 << 20
    back_off_s: float = 0.5
    longest_wait_s: float = 60.0
    bytes_each: int = 16 * GIB  # 10 hours of 24-bit stereo at 48 kHz are 10 GB
    bytes_held: int = 64 * GIB
    bytes_in_memory: int = 32 << 20
    bytes_left_free: int = GIB
    per_host: int = 8


@dataclass(frozen=True, kw_only=True)
class FetchPolicy:
    """What may be fetched.

    Attributes:
        allow_private_hosts: loopback, private, link-local and other addresses that are not public, too.
        trust_manifests: whatever a manifest or a dataset lists, files of this machine too.
        limits: of each download.
    """

    allow_private_hosts: bool = False
    trust_manifests: bool = False
    limits: Limits = field(default_factory=Limits)


CAREFUL = FetchPolicy()
"""What is fetched where nobody says otherwise."""
