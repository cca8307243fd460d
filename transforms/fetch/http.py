"""Downloads over http and https: each attempt goes on where the last one broke off, if the server lets it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from time import monotonic
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3.exceptions

from transforms.core.cancellation import check_stop
from transforms.core.errors import AudioError
from transforms.core.uris import is_http
from transforms.fetch.guarded_connections import GuardedAdapter, Watchdog
from transforms.fetch.host_slots import HOSTS
from transforms.fetch.policy import FetchPolicy, Limits
from transforms.fetch.spool import Spool

READ_BYTES = 256 << 10
RETRIED = frozenset({408, 416, 429, 500, 502, 503, 504})  # 416: what was copied is no part of what is there
NO_ANSWER = frozenset({"timeout", "connection"})
KINDS = {401: "forbidden", 403: "forbidden", 404: "not_found", 410: "not_found"}
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)", re.IGNORECASE)

Headers = Mapping[str, str]


class HttpDownload:
    """The copy of what a URL gives.

    Args:
        url: with its credentials, if it has any; they go to its own host alone.
        spool: takes the copy.
        deadline: when the download must be done, as `time.monotonic` has it.
    """

    def __init__(self, url: str, spool: Spool, policy: FetchPolicy, deadline: float) -> None:
        self._url, self._spool, self._policy, self._deadline = url, spool, policy, deadline
        self._limits = policy.limits
        self._validator: str | None = None  # that of the copy, when it can be gone on with
        self._total: int | None = None

    def attempt(self) -> None:
        """Fetches what is missing of the copy.

        Raises:
            AudioError: with stage `fetch`; what came until then stays in the spool.
        """
        with Watchdog(self._soon()) as watchdog, _Session() as session:
            adapter = GuardedAdapter(watchdog, self._policy.allow_private_hosts)
            session.mount("http://", adapter)
            session.mount("https://", adapter)
            try:
                self._follow(session, watchdog)
            # `from None`: these exceptions quote the URL with its credentials, and a traceback shows them.
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
                raise self._timeout() if watchdog.tripped else _as_audio_error(error) from None
            if watchdog.tripped:  # a body of unknown length that ended because it was broken off
                raise self._timeout()

    def _soon(self) -> float:
        """When the next sign of life is due."""
        return min(self._deadline, monotonic() + self._limits.read_s)

    def _timeout(self) -> AudioError:
        limit = "no answer in time"
        if monotonic() >= self._deadline:
            limit = f"not done in {self._limits.total_s:g} s (--fetch_timeout_s)"
        return AudioError("fetch", "timeout", limit, retryable=True)

    def _follow(self, session: requests.Session, watchdog: Watchdog) -> None:
        url, limits = self._url, self._limits
        for _ in range(limits.redirects + 1):
            with HOSTS.slot(host_of(url), limits.per_host, self._deadline - monotonic()):
                watchdog.put_off(min(self._deadline, monotonic() + limits.connect_s + limits.read_s))
                with session.get(
                    url,
                    stream=True,
                    allow_redirects=False,
                    headers=self._headers(),
                    timeout=(limits.connect_s, limits.read_s),
                ) as response:
                    HOSTS.answered(host_of(url))
                    target = requests.Session.get_redirect_target(session, response)
                    if target is None:
                        self._take(response, watchdog)
                        return
            url = _redirected(url, target)
        raise AudioError("fetch", "redirects", f"more than {limits.redirects} redirects")

    def _headers(self) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity"}
        if self._spool.n_bytes and self._validator is not None:
            return {**headers, "Range": f"bytes={self._spool.n_bytes}-", "If-Range": self._validator}
        return headers

    def _take(self, response: requests.Response, watchdog: Watchdog) -> None:
        if response.status_code == 416:
            self._begin_again()
        _check_status(response, self._limits)
        encoding = response.headers.get("Content-Encoding", "").strip().lower()
        is_encoded = encoding not in ("", "identity")  # its length is not that of the copy
        if response.status_code == 206:
            self._go_on(response.headers, is_encoded)
        else:
            self._begin_again()
            if not is_encoded:
                self._total = _length(response.headers)
                self._validator = _validator(response.headers)
        if self._total is not None:
            self._spool.expect(self._total)
        self._read(response.raw, is_encoded, watchdog)
        if self._total is not None and self._spool.n_bytes != self._total:
            message = f"{self._spool.n_bytes} of {self._total} bytes came"
            raise AudioError("fetch", "short_body", message, retryable=True)

    def _begin_again(self) -> None:
        self._spool.restart()
        self._validator = self._total = None

    def _go_on(self, headers: Headers, is_encoded: bool) -> None:
        """Checks that the part of a 206 is the one that is missing."""
        given = headers.get("Content-Range", "")
        part = _CONTENT_RANGE.fullmatch(given.strip())
        fits = part is not None and not is_encoded and int(part[1]) == self._spool.n_bytes
        if part is not None and fits and part[3] != "*":
            total = int(part[3])
            fits = self._total in (None, total)
            self._total = total
        if not fits:
            wanted = self._spool.n_bytes
            self._begin_again()
            message = f"the server sent the part {given!r}, where the bytes from {wanted} on were missing"
            raise AudioError("fetch", "bad_range", message, retryable=True)

    def _read(self, raw: Any, is_encoded: bool, watchdog: Watchdog) -> None:  # noqa: ANN401  # see requests
        """Copies a body as it comes: `read1` gives what is there, `read` would wait for a whole block."""
        rate = Rate(self._limits)
        watchdog.put_off(self._soon())
        with closing(raw):
            while block := raw.read1(READ_BYTES, decode_content=is_encoded):
                self._spool.write(block)
                check_stop()
                rate.check(len(block))
                watchdog.put_off(self._soon())
                if monotonic() > self._deadline:
                    raise self._timeout()


class Rate:
    """Tells a body that trickles from one that flows."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._since, self._n_bytes = monotonic(), 0

    def check(self, n_bytes: int) -> None:
        """Counts bytes that came; raises `AudioError` (`timeout`) when they are too few."""
        self._n_bytes += n_bytes
        seconds = monotonic() - self._since
        if seconds < self._limits.stall_s:
            return
        if self._n_bytes < self._limits.least_bytes_per_s * seconds:
            message = (
                f"{self._n_bytes} bytes in {seconds:.0f} s, fewer than {self._limits.least_bytes_per_s:g} a s"
            )
            raise AudioError("fetch", "timeout", message, retryable=True)
        self._since, self._n_bytes = monotonic(), 0


class _Session(requests.Session):
    """Follows no redirect: `requests` would read a redirect's body into memory, however long it is."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None."""


def host_of(url: str) -> str:
    """The name of a URL's host; empty where it has none, or is none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:  # urllib3 says what is wrong with it
        return ""


def _redirected(url: str, target: str) -> str:
    """Where a redirect leads. Credentials of the URL go along on its own host, and nowhere else."""
    found = urljoin(url, target)
    if not is_http(found):
        message = f"redirected to {found}; redirects are followed to http and https alone"
        raise AudioError("fetch", "forbidden_redirect", message)
    return found


def _check_status(response: requests.Response, limits: Limits) -> None:
    status = response.status_code
    if status in (200, 203, 206):
        return
    kind = KINDS.get(status, f"http_{status}")
    message = f"the server answered {status} {response.reason}"
    error = AudioError("fetch", kind, message, retryable=status in RETRIED)
    error.retry_after_s = _retry_after(response.headers, limits.longest_wait_s)
    raise error


def _retry_after(headers: Headers, most_s: float) -> float | None:
    """The seconds that a server asks to wait (RFC 9110, 10.2.3), `most_s` at most; None if it does not."""
    given = headers.get("Retry-After", "").strip()
    if given.isascii() and given.isdigit():
        return min(float(given), most_s)
    moment = _date(given)
    return None if moment is None else min(max((moment - datetime.now(UTC)).total_seconds(), 0.0), most_s)


def _date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _length(headers: Headers) -> int | None:
    given = headers.get("Content-Length", "").strip()
    return int(given) if given.isascii() and given.isdigit() and "Transfer-Encoding" not in headers else None


def _validator(headers: Headers) -> str | None:
    """What `If-Range` may name: a strong tag, or a date that is strong too (RFC 9110, 8.8.2.2)."""
    tag = headers.get("ETag", "").strip()
    if tag.startswith('"'):
        return tag
    modified, now = _date(headers.get("Last-Modified", "")), _date(headers.get("Date", ""))
    is_strong = modified is not None and now is not None and now - modified >= timedelta(seconds=1)
    return headers["Last-Modified"] if is_strong else None


def _as_audio_error(error: Exception) -> AudioError:
    """What went wrong, as a failure that can be counted."""
    timeouts = (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)
    broken = (urllib3.exceptions.ProtocolError, urllib3.exceptions.DecodeError)
    lost = (requests.ConnectionError, urllib3.exceptions.HTTPError, OSError)
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return AudioError("fetch", "bad_certificate", f"the host is not who it should be: {error}")
    if isinstance(error, timeouts):
        return AudioError("fetch", "timeout", f"no answer in time: {error}", retryable=True)
    if isinstance(error, broken):
        return AudioError("fetch", "short_body", f"the body broke off: {error}", retryable=True)
    if isinstance(error, lost) and not isinstance(error, ValueError):
        return AudioError("fetch", "connection", f"no connection: {error}", retryable=True)
    return AudioError("fetch", "bad_url", f"cannot be fetched: {error}")
