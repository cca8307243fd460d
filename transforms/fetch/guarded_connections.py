"""Connections of downloads: to addresses that were checked, and broken off when an answer takes too long.

An address is checked by the connection itself, between the resolution of the name and the first packet, so
that no second answer of a name server (DNS rebinding) and no redirect gets past it. Through a proxy, the
peer is the proxy, which the user's environment names; then the host of the URL is checked as far as its name
can be resolved here, and the proxy decides what it reaches.
"""

from __future__ import annotations

import socket
import threading
from time import monotonic
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import select_proxy
from urllib3 import HTTPConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, NameResolutionError

from transforms.core.errors import AudioError
from transforms.fetch.public_addresses import check_public, public_addresses

MOST_ADDRESSES = 3
"""Of a host that are tried: each may take as long as a connection may."""


class Watchdog:
    """Breaks connections off at a moment that can be put off.

    A socket's own time limit starts again with every byte, so it never ends headers that come a byte at a
    time. This does: it shuts the socket down from a thread of its own, which lives as long as the context.

    Args:
        until: the moment, as `time.monotonic` has it.
    """

    def __init__(self, until: float) -> None:
        self._until = until
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="download watchdog", daemon=True)
        self.tripped = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        for watched in self._sockets:
            watched.close()

    def put_off(self, until: float) -> None:
        """Sets another, later moment."""
        self._until = until

    def watch(self, connection: socket.socket) -> None:
        """Watches a connection, too; through a descriptor of its own, for TLS takes the one given away."""
        with self._lock:
            self._sockets.append(connection.dup())
        if self.tripped:
            self._break_off()

    def _run(self) -> None:
        while (left_s := self._until - monotonic()) > 0:
            if self._over.wait(left_s):
                return
        self.tripped = True
        self._break_off()

    def _break_off(self) -> None:
        with self._lock:
            for watched in self._sockets:
                try:
                    watched.shutdown(socket.SHUT_RDWR)
                except OSError:  # it is closed already
                    continue


class GuardedAdapter(HTTPAdapter):
    """Lets `requests` connect to public addresses alone, under a watchdog's eyes.

    Args:
        watchdog: of this download.
        allow_private: connect to any address.
    """

    def __init__(self, watchdog: Watchdog, allow_private: bool) -> None:
        self._watchdog, self._allow_private = watchdog, allow_private
        super().__init__()

    def get_connection_with_tls_context(
        self,
        request: requests.PreparedRequest,
        verify: bool | str,
        proxies: Any = None,  # noqa: ANN401  # as requests has it
        cert: Any = None,  # noqa: ANN401
    ) -> HTTPConnectionPool:
        """The pool of a request's host, whose connections are guarded."""
        pool: HTTPConnectionPool = super().get_connection_with_tls_context(request, verify, proxies, cert)
        is_direct = select_proxy(request.url or "", proxies) is None
        if is_direct:
            pool.ConnectionCls = _GuardedHTTPS if pool.scheme == "https" else _GuardedHTTP
        else:
            if not self._allow_private:
                _check_behind_proxy(request.url or "")
            # Those of SOCKS proxies are of a class of their own, and go unwatched.
            pool.ConnectionCls = _GUARDED.get(pool.ConnectionCls, pool.ConnectionCls)
        if issubclass(pool.ConnectionCls, _GuardedHTTP):
            pool.conn_kw["watchdog"] = self._watchdog
            pool.conn_kw["public_only"] = is_direct and not self._allow_private
        return pool


class _GuardedHTTP(HTTPConnection):
    """Resolves, checks, and connects to what was checked."""

    def __init__(
        self,
        *args: Any,  # noqa: ANN401  # as urllib3 has them
        watchdog: Watchdog,
        public_only: bool,
        **settings: Any,  # noqa: ANN401
    ) -> None:
        self._watchdog, self._public_only = watchdog, public_only
        super().__init__(*args, **settings)

    def _new_conn(self) -> socket.socket:
        connection = self._connect_to_public() if self._public_only else super()._new_conn()
        self._watchdog.watch(connection)
        return connection

    def _connect_to_public(self) -> socket.socket:
        host = self.host
        try:
            addresses = public_addresses(host, self.port)
        except socket.gaierror as error:
            raise NameResolutionError(host, self, error) from error
        failure: Exception = OSError(f"{host} has no address")
        for address in addresses[:MOST_ADDRESSES]:
            try:
                return self._connect_to(address, host)
            except (OSError, HTTPError) as error:
                failure = error
        raise failure

    def _connect_to(self, address: str, host: str) -> socket.socket:
        self.host = address  # numbers: nothing is resolved again
        try:
            connection = super()._new_conn()
        finally:
            self.host = host
        try:
            check_public(connection.getpeername()[0], host)
        except (AudioError, OSError):
            connection.close()
            raise
        return connection


class _GuardedHTTPS(_GuardedHTTP, HTTPSConnection):
    """The same, with TLS for the name."""


_GUARDED: dict[Any, Any] = {HTTPConnection: _GuardedHTTP, HTTPSConnection: _GuardedHTTPS}


def _check_behind_proxy(url: str) -> None:
    try:
        public_addresses(urlsplit(url).hostname or "", None)
    except (OSError, UnicodeError):  # a network may resolve names of the outside nowhere but in its proxy
        return
