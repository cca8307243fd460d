"""Connections of downloads: to checked addresses only, and closed when an answer takes too long.

A connection checks the address itself, between the resolution of the name and the first packet, so that
neither a second answer of the name server (DNS rebinding) nor a redirect can bypass the check. With a proxy,
which comes from the user's environment, the peer is the proxy; then the host of the URL is checked if its
name can be resolved here, and the proxy decides which hosts it reaches.
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
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NameResolutionError, NewConnectionError

from transforms.core.cancellation import CHECK_S, Check, check_stop
from transforms.core.errors import AudioError
from transforms.fetch.public_addresses import addresses_of, check_public, public_addresses

MAX_ADDRESSES = 3
"""Addresses of a host that are tried; each may take as long as a connection may."""


class Watchdog:
    """Closes connections at a deadline that can be postponed, or once the work is cancelled.

    The timeout of a socket restarts with every byte, so headers that arrive a byte at a time never exceed it.
    The watchdog shuts the socket down from a thread, which ends with the context.

    Args:
        deadline: on the clock of `time.monotonic`.
        check: called repeatedly, from the thread; raises once the work is cancelled.

    Attributes:
        tripped: the connections were closed.
        stop: the exception that `check` raised; None if the deadline has passed.
    """

    def __init__(self, deadline: float, check: Check = check_stop) -> None:
        self._deadline, self._check = deadline, check
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="download watchdog", daemon=True)
        self.tripped = False
        self.stop: Exception | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        self._thread.join()
        for watched in self._sockets:
            watched.close()

    def postpone(self, deadline: float) -> None:
        """Sets a later deadline."""
        self._deadline = deadline

    def watch(self, connection: socket.socket) -> None:
        """Adds a connection, made or not, with a duplicated descriptor: TLS takes over the original one."""
        with self._lock:
            self._sockets.append(connection.dup())

    def _run(self) -> None:
        while (left_s := self._deadline - monotonic()) > 0 and not self._is_cancelled():
            if self._closed.wait(min(left_s, CHECK_S)):
                return
        self.tripped = True
        self._shut_down()
        while not self._closed.wait(CHECK_S):  # a connection may have been added, or made, since
            self._shut_down()

    def _is_cancelled(self) -> bool:
        try:
            self._check()
        except Exception as stop:  # of any type; raised by the download
            self.stop = stop
        return self.stop is not None

    def _shut_down(self) -> None:
        with self._lock:
            for watched in self._sockets:
                try:
                    watched.shutdown(socket.SHUT_RDWR)
                except OSError:  # already closed, or not yet made
                    continue


class GuardedAdapter(HTTPAdapter):
    """Makes `requests` connect to public addresses only, supervised by a watchdog.

    Args:
        watchdog: the watchdog of this download.
        allow_private: whether to connect to any address.
    """

    def __init__(self, watchdog: Watchdog, allow_private: bool) -> None:
        self._watchdog, self._allow_private = watchdog, allow_private
        super().__init__()

    def get_connection_with_tls_context(
        self,
        request: requests.PreparedRequest,
        verify: bool | str,
        proxies: Any = None,  # noqa: ANN401  # as in requests
        cert: Any = None,  # noqa: ANN401
    ) -> HTTPConnectionPool:
        """Returns the pool of a request's host, with guarded connections."""
        pool: HTTPConnectionPool = super().get_connection_with_tls_context(request, verify, proxies, cert)
        is_direct = select_proxy(request.url or "", proxies) is None
        if is_direct:
            pool.ConnectionCls = _GuardedHTTPS if pool.scheme == "https" else _GuardedHTTP
        else:
            if not self._allow_private:
                _check_proxied_host(request.url or "")
            # Connections of SOCKS proxies have a class of their own, and are not watched.
            pool.ConnectionCls = _GUARDED.get(pool.ConnectionCls, pool.ConnectionCls)
        if issubclass(pool.ConnectionCls, _GuardedHTTP):
            pool.conn_kw["watchdog"] = self._watchdog
            pool.conn_kw["public_only"] = is_direct and not self._allow_private
        return pool


class _GuardedHTTP(HTTPConnection):
    """Resolves a name, checks its addresses, and connects to a checked address."""

    def __init__(
        self,
        *args: Any,  # noqa: ANN401  # as in urllib3
        watchdog: Watchdog,
        public_only: bool,
        **settings: Any,  # noqa: ANN401
    ) -> None:
        self._watchdog, self._public_only = watchdog, public_only
        super().__init__(*args, **settings)

    def _new_conn(self) -> socket.socket:
        resolve = public_addresses if self._public_only else addresses_of
        try:
            addresses = resolve(self.host, self.port)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        failure: Exception = OSError(f"{self.host} has no address")
        for address in addresses[:MAX_ADDRESSES]:
            try:
                return self._connect_to(address)
            except (OSError, HTTPError) as error:
                failure = error
        raise failure

    def _connect_to(self, address: str) -> socket.socket:
        """Connects to a numeric address, so that nothing is resolved again."""
        ((family, *_, socket_address), *_) = socket.getaddrinfo(address, self.port, type=socket.SOCK_STREAM)
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            for option in self.socket_options or ():
                connection.setsockopt(*option)
            connection.settimeout(self.timeout)
            self._watchdog.watch(connection)  # before it is made, which may take long
            if self._watchdog.tripped:
                raise TimeoutError
            connection.connect(socket_address)
            if self._public_only:
                check_public(connection.getpeername()[0], self.host)
        except TimeoutError as error:
            connection.close()
            raise ConnectTimeoutError(self, f"no connection to {self.host} in {self.timeout} s") from error
        except OSError as error:
            connection.close()
            raise NewConnectionError(self, str(error)) from error
        except AudioError:
            connection.close()
            raise
        return connection


class _GuardedHTTPS(_GuardedHTTP, HTTPSConnection):
    """A `_GuardedHTTP` with TLS for the name of the host."""


_GUARDED: dict[Any, Any] = {HTTPConnection: _GuardedHTTP, HTTPSConnection: _GuardedHTTPS}


def _check_proxied_host(url: str) -> None:
    try:
        public_addresses(urlsplit(url).hostname or "", None)
    except (OSError, UnicodeError):  # in some networks only the proxy resolves external names
        return
