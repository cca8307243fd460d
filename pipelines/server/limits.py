"""Limits of a server: the rate of each client, and the number of requests at a time. Both are thread-safe."""

from __future__ import annotations

import ipaddress
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from starlette.types import Scope

from pipelines.server.errors import overloaded, rate_limited, unavailable

MAX_CLIENTS = 10_000
FIRST_DURATION_S = 10.0
"""Assumed duration of a request before the first one has ended."""

WEIGHT = 0.2
"""Weight of the last duration in their moving mean."""

MAX_RETRY_S = 120.0  # clients of OpenAI wait no longer
DRAINING_RETRY_S = 10.0
SUBNET_BITS = 64  # of an IPv6 address: one subscriber has all addresses below


def client_of(scope: Scope) -> str:
    """Returns what stands for a client: its key (see `KeyCheck`), or else its address, of IPv6 the /64."""
    key = scope.get("state", {}).get("key")
    if key is not None:
        return f"key {key}"
    host = str((scope.get("client") or ("unknown",))[0])
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, SUBNET_BITS), strict=False))


class RateLimit:
    """A token bucket for each client, of the `max_clients` that came last."""

    def __init__(
        self,
        per_minute: float,
        burst: int,
        *,
        max_clients: int = MAX_CLIENTS,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Creates the buckets, full.

        Args:
            per_minute: requests that a client may make in a minute, in the long run.
            burst: requests that it may make at once.
            max_clients: buckets to be kept; the one that was not used for longest is forgotten.
            clock: returns the time in seconds.
        """
        self._per_s, self._burst, self._max_clients, self._clock = per_minute / 60, burst, max_clients, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and when
        self._lock = threading.Lock()

    def take(self, client: str) -> None:
        """Takes a token of a client.

        Raises:
            ApiError: 429 if there is none, with the time until there is one.
        """
        with self._lock:
            now = self._clock()
            tokens, since = self._buckets.get(client, (float(self._burst), now))
            tokens = min(self._burst, tokens + (now - since) * self._per_s)
            if tokens >= 1:
                self._put(client, tokens - 1, now)
                return
            self._put(client, tokens, now)
            raise rate_limited((1 - tokens) / self._per_s)

    def _put(self, client: str, tokens: float, now: float) -> None:
        self._buckets[client] = tokens, now
        self._buckets.move_to_end(client)
        if len(self._buckets) > self._max_clients:
            self._buckets.popitem(last=False)


class Admission:
    """The requests that a server has taken, at most `limit` at a time; further ones are to come again.

    `Retry-After` spreads those that were refused: by Little's law a place becomes free every
    mean duration / limit seconds, and each one refused is given the next of these moments that none before
    was given.
    """

    def __init__(self, limit: int, *, clock: Callable[[], float] = monotonic) -> None:
        """Creates the admission.

        Args:
            limit: maximum number of requests at a time.
            clock: returns the time in seconds.
        """
        self._limit, self._clock = limit, clock
        self._started: dict[int, float] = {}  # of each request that is inside
        self._n_admitted = 0
        self._mean_s: float | None = None
        self._promised = 0.0  # the last moment given to one that was refused
        self._draining = False
        self._lock = threading.Lock()

    @property
    def n_requests(self) -> int:
        """The number of requests that are inside."""
        with self._lock:
            return len(self._started)

    def drain(self) -> None:
        """Refuses new requests from now on, with 503; those inside are not affected."""
        with self._lock:
            self._draining = True

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Admits a request for the duration of the block.

        Raises:
            ApiError: 429 if there are too many, 503 if the server stops.
        """
        number = self._enter()
        try:
            yield
        finally:
            self._leave(number)

    def _enter(self) -> int:
        with self._lock:
            now = self._clock()
            if self._draining:
                raise unavailable("The server is stopping.", "shutting_down", DRAINING_RETRY_S)
            if len(self._started) >= self._limit:
                raise overloaded(self._limit, self._retry_s(now))
            self._n_admitted += 1
            self._started[self._n_admitted] = now
            return self._n_admitted

    def _leave(self, number: int) -> None:
        with self._lock:
            duration_s = self._clock() - self._started.pop(number)
            mean_s = duration_s if self._mean_s is None else self._mean_s
            self._mean_s = mean_s + WEIGHT * (duration_s - mean_s)

    def _retry_s(self, now: float) -> float:
        mean_s = FIRST_DURATION_S if self._mean_s is None else self._mean_s
        age_s = sum(now - started for started in self._started.values()) / len(self._started)
        interval_s = max(mean_s, age_s) / self._limit
        self._promised = min(max(self._promised, now) + interval_s, now + MAX_RETRY_S)
        return self._promised - now
