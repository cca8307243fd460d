"""Downloads over http and https: each attempt resumes where the last one ended, if the server supports it."""

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

from transforms.core.cancellation import Check, check_stop
from transforms.core.errors import AudioError
from transforms.core.uris import is_http
from transforms.fetch.guarded_connections import GuardedAdapter, Watchdog
from transforms.fetch.host_slots import HOSTS
from transforms.fetch.policy import FetchPolicy, Limits
from transforms.fetch.spool import Spool

READ_BYTES = 256 << 10
RETRIED = frozenset({408, 416, 429, 500, 502, 503, 504})  # 416: the copied part does not match the resource
NO_ANSWER = frozenset({"timeout", "connection"})
KINDS = {401: "forbidden", 403: "forbidden", 404: "not_found", 410: "not_found"}
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)", re.IGNORECASE)

Headers = Mapping[str, str]


class HttpDownload:
    """Downloads a URL to a spool.

    Args:
        url: the URL with its credentials, if any; they are sent only to its own host.
        spool: receives the copy.
        deadline: end of the download, on the clock of `time.monotonic`.
        check: called repeatedly, also from another thread; may raise.
    """

    def __init__(
        self, url: str, spool: Spool, policy: FetchPolicy, deadline: float, check: Check = check_stop
    ) -> None:
        self._url, self._spool, self._policy, self._deadline = url, spool, policy, deadline
        self._limits, self._check = policy.limits, check
        self._validator: str | None = None  # that of the copy, if it can be resumed
        self._total: int | None = None

    def attempt(self) -> None:
        """Fetches the missing part of the copy.

        Raises:
            AudioError: with stage `fetch`; the bytes received so far stay in the spool.
            Exception: raised by `check`.
        """
        with Watchdog(self._next_deadline(), self._check) as watchdog, _Session() as session:
            adapter = GuardedAdapter(watchdog, self._policy.allow_private_hosts)
            session.mount("http://", adapter)
            session.mount("https://", adapter)
            try:
                self._follow(session, watchdog)
            # `from None`: these exceptions quote the URL with its credentials, and a traceback shows them.
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
                raise self._reason(watchdog) or _as_audio_error(error) from None
            if reason := self._reason(watchdog):  # a body of unknown length ended as its socket was closed
                raise reason

    def _next_deadline(self) -> float:
        """Returns when the next bytes must have arrived."""
        return min(self._deadline, monotonic() + self._limits.read_s)

    def _reason(self, watchdog: Watchdog) -> Exception | None:
        """Returns why the watchdog closed the connection; None if it did not."""
        return watchdog.stop or (self._timeout() if watchdog.tripped else None)

    def _timeout(self) -> AudioError:
        limit = "no answer in time"
        if monotonic() >= self._deadline:
            limit = f"not done in {self._policy.fetch_timeout_s:g} s (--fetch_timeout_s)"
        return AudioError("fetch", "timeout", limit, retryable=True)

    def _follow(self, session: requests.Session, watchdog: Watchdog) -> None:
        url, limits = self._url, self._limits
        for _ in range(limits.redirects + 1):
            with HOSTS.slot(host_of(url), limits.per_host, self._deadline - monotonic(), self._check):
                watchdog.postpone(min(self._deadline, monotonic() + limits.connect_s + limits.read_s))
                with session.get(
                    url,
                    stream=True,
                    allow_redirects=False,
                    headers=self._headers(),
                    timeout=(limits.connect_s, limits.read_s),
                ) as response:
                    HOSTS.record_answer(host_of(url))
                    target = requests.Session.get_redirect_target(session, response)
                    if target is None:
                        self._copy(response, watchdog)
                        return
            url = _redirected(url, target)
        raise AudioError("fetch", "redirects", f"more than {limits.redirects} redirects")

    def _headers(self) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity"}
        if self._spool.n_bytes and self._validator is not None:
            return {**headers, "Range": f"bytes={self._spool.n_bytes}-", "If-Range": self._validator}
        return headers

    def _copy(self, response: requests.Response, watchdog: Watchdog) -> None:
        if response.status_code == 416:
            self._restart()
        _check_status(response, self._limits)
        encoding = response.headers.get("Content-Encoding", "").strip().lower()
        is_encoded = encoding not in ("", "identity")  # then its length is not that of the copy
        if response.status_code == 206:
            self._resume(response.headers, is_encoded)
        else:
            self._restart()
            if not is_encoded:
                self._total = _length(response.headers)
                self._validator = _validator(response.headers)
        if self._total is not None:
            self._spool.expect(self._total)
        self._read(response.raw, is_encoded, watchdog)
        if self._total is not None and self._spool.n_bytes != self._total:
            message = f"{self._spool.n_bytes} of {self._total} bytes came"
            raise AudioError("fetch", "short_body", message, retryable=True)

    def _restart(self) -> None:
        self._spool.restart()
        self._validator = self._total = None

    def _resume(self, headers: Headers, is_encoded: bool) -> None:
        """Checks that the range of a 206 is the missing one."""
        sent = headers.get("Content-Range", "")
        part = _CONTENT_RANGE.fullmatch(sent.strip())
        fits = part is not None and not is_encoded and int(part[1]) == self._spool.n_bytes
        if part is not None and fits and part[3] != "*":
            total = int(part[3])
            fits = self._total in (None, total)
            self._total = total
        if not fits:
            wanted = self._spool.n_bytes
            self._restart()
            message = f"the server sent the part {sent!r}, where the bytes from {wanted} on were missing"
            raise AudioError("fetch", "bad_range", message, retryable=True)

    def _read(self, raw: Any, is_encoded: bool, watchdog: Watchdog) -> None:  # noqa: ANN401  # see requests
        """Copies a body as it arrives: `read1` returns available bytes, `read` waits for a full block."""
        rate = Rate(self._limits)
        watchdog.postpone(self._next_deadline())
        with closing(raw):
            while block := raw.read1(READ_BYTES, decode_content=is_encoded):
                self._spool.write(block)
                self._check()
                rate.check(len(block))
                watchdog.postpone(self._next_deadline())
                if monotonic() > self._deadline:
                    raise self._timeout()


class Rate:
    """Detects a body that arrives too slowly."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._started, self._n_bytes = monotonic(), 0

    def check(self, n_bytes: int) -> None:
        """Counts bytes received; raises `AudioError` (`timeout`) if the rate is too low."""
        self._n_bytes += n_bytes
        seconds = monotonic() - self._started
        if seconds < self._limits.stall_s:
            return
        if self._n_bytes < self._limits.min_bytes_per_s * seconds:
            message = (
                f"{self._n_bytes} bytes in {seconds:.0f} s, fewer than {self._limits.min_bytes_per_s:g} a s"
            )
            raise AudioError("fetch", "timeout", message, retryable=True)
        self._started, self._n_bytes = monotonic(), 0


class _Session(requests.Session):
    """A session without redirects: `requests` would read the whole body of a redirect into memory."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Returns None: no redirect is followed."""


def host_of(url: str) -> str:
    """Returns the host name of a URL; empty if it has none, or is invalid."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:  # urllib3 reports what is wrong with it
        return ""


def _redirected(url: str, target: str) -> str:
    """Returns the target of a redirect. Credentials of the URL are sent to its own host only."""
    found = urljoin(url, target)
    if not is_http(found):
        message = f"redirected to {found}; redirects are followed only to http and https"
        raise AudioError("fetch", "forbidden_redirect", message)
    return found


def _check_status(response: requests.Response, limits: Limits) -> None:
    status = response.status_code
    if status in (200, 203, 206):
        return
    kind = KINDS.get(status, f"http_{status}")
    message = f"the server answered {status} {response.reason}"
    error = AudioError("fetch", kind, message, retryable=status in RETRIED)
    error.retry_after_s = _retry_after(response.headers, limits.max_wait_s)
    raise error


def _retry_after(headers: Headers, max_s: float) -> float | None:
    """Returns the wait in seconds that a server asks for (RFC 9110, 10.2.3), at most `max_s`, or None."""
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value), max_s)
    time = _date(value)
    return None if time is None else min(max((time - datetime.now(UTC)).total_seconds(), 0.0), max_s)


def _date(text: str) -> datetime | None:
    try:
        time = parsedate_to_datetime(text)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _length(headers: Headers) -> int | None:
    value = headers.get("Content-Length", "").strip()
    return int(value) if value.isascii() and value.isdigit() and "Transfer-Encoding" not in headers else None


def _validator(headers: Headers) -> str | None:
    """Returns the validator for `If-Range`: a strong tag, or a strong date (RFC 9110, 8.8.2.2)."""
    tag = headers.get("ETag", "").strip()
    if tag.startswith('"'):
        return tag
    modified, now = _date(headers.get("Last-Modified", "")), _date(headers.get("Date", ""))
    is_strong = modified is not None and now is not None and now - modified >= timedelta(seconds=1)
    return headers["Last-Modified"] if is_strong else None


def _as_audio_error(error: Exception) -> AudioError:
    """Converts an error of a library to one with a kind that can be counted."""
    timeouts = (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)
    broken = (urllib3.exceptions.ProtocolError, urllib3.exceptions.DecodeError)
    lost = (requests.ConnectionError, urllib3.exceptions.HTTPError, OSError)
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return AudioError("fetch", "bad_certificate", f"the certificate of the host is not valid: {error}")
    if isinstance(error, timeouts):
        return AudioError("fetch", "timeout", f"no answer in time: {error}", retryable=True)
    if isinstance(error, broken):
        return AudioError("fetch", "short_body", f"the body broke off: {error}", retryable=True)
    if isinstance(error, lost) and not isinstance(error, ValueError):
        return AudioError("fetch", "connection", f"no connection: {error}", retryable=True)
    return AudioError("fetch", "bad_url", f"cannot be fetched: {error}")
