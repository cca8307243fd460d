"""A form of multipart/form-data, parsed as it arrives: text fields are kept, the file goes to a spool."""

from __future__ import annotations

import hashlib
import logging
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from pipelines.server.errors import invalid_request, quoted
from transforms.fetch.spool import Spool

FILE: Final = "file"
MAX_PARTS = 64
MAX_FIELD_BYTES = 64 << 10
MAX_FILENAME = 255  # characters
CHARSETS = {"utf-8": "utf-8", "utf8": "utf-8", "us-ascii": "ascii", "iso-8859-1": "latin-1"}
"""Charset that a part may declare -> Python's name; Java's clients declare ISO-8859-1."""

PLAIN_ENCODINGS = ("", "7bit", "8bit", "binary")

_QUIET = logging.Logger("parser", logging.CRITICAL)  # the parser also logs each error that it raises


class Multipart:
    """The parts of a form, in any order, from blocks of any sizes. Blocking: the spool may write to the disk.

    Attributes:
        fields: names and values of the text fields, in their order.
        digest: SHA-256 of the file's content so far.
        filename: the last part of the file's name, "" if it has none; None without a file.
    """

    def __init__(self, boundary: bytes, spool: Spool) -> None:
        """Creates the parser.

        Args:
            boundary: of the header Content-Type.
            spool: where the content of the file goes.

        Raises:
            ApiError: 400; the boundary cannot be one.
        """
        self.fields: list[tuple[str, str]] = []
        self.digest = hashlib.sha256()
        self.filename: str | None = None
        self._spool = spool
        self._n_parts = 0
        self._ended = False
        self._start_part()
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._start_part,
                    "on_header_field": self._read_header_name,
                    "on_header_value": self._read_header_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_part_data": self._read_content,
                    "on_part_end": self._end_part,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise invalid_request(f"Invalid boundary in the header Content-Type: {error}.") from error
        self._parser.logger = _QUIET

    def write(self, block: bytes) -> None:
        """Parses a block.

        Raises:
            ApiError: 400; not a form, or one that cannot be used.
            AudioError: the spool's, `too_large` or `no_room`.
        """
        try:
            self._parser.write(block)
        except FormParserError as error:
            raise invalid_request(f"The body is not valid multipart/form-data: {error}.") from error

    def finish(self) -> None:
        """Checks that the form is complete, and positions the spool at its start.

        Raises:
            ApiError: 400; the body is cut off, or the file empty.
        """
        if not self._ended:
            message = "The body is not valid multipart/form-data: it ends before the closing boundary."
            raise invalid_request(message)
        if self.filename is not None and not self._spool.n_bytes:
            raise invalid_request("The file is empty: its part has no content.", FILE)
        self._spool.file.seek(0)

    def _start_part(self) -> None:
        self._headers: dict[bytes, bytes] = {}
        self._header_name = self._header_value = b""
        self._name, self._charset, self._is_file = "", "utf-8", False
        self._content = bytearray()

    def _read_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _read_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name = self._header_value = b""

    def _end_headers(self) -> None:
        self._n_parts += 1
        if self._n_parts > MAX_PARTS:
            raise invalid_request(f"The form has more than {MAX_PARTS} parts.")
        kind, options = parse_options_header(self._headers.get(b"content-disposition"))
        if kind != b"form-data" or not options.get(b"name"):
            message = "A part of the form has no header 'Content-Disposition: form-data' with a name."
            raise invalid_request(message)
        self._name = _decoded(options[b"name"], "The name of a part")
        encoding = self._headers.get(b"content-transfer-encoding", b"").decode("latin-1").strip().lower()
        if encoding not in PLAIN_ENCODINGS:
            message = f"The part {quoted(self._name)} has Content-Transfer-Encoding {quoted(encoding)}: "
            message += "send it as it is."
            raise invalid_request(message, self._name)
        if self._name == FILE:
            self._start_file(options.get(b"filename"))
        else:
            _, parameters = parse_options_header(self._headers.get(b"content-type"))
            self._charset = self._python_charset(parameters.get(b"charset", b"utf-8"))

    def _start_file(self, filename: bytes | None) -> None:
        if self.filename is not None:
            raise invalid_request("The form has two files: send one a request.", FILE)
        if filename is None and b"content-type" not in self._headers:
            message = "The part 'file' is a text field: send a file (with curl, -F file=@talk.mp3)."
            raise invalid_request(message, FILE)
        self._is_file = True
        self.filename = _base_name(filename or b"")

    def _python_charset(self, declared: bytes) -> str:
        charset = declared.decode("latin-1").lower()
        if charset not in CHARSETS:
            message = f"The part {quoted(self._name)} has charset {quoted(charset)}: send UTF-8."
            raise invalid_request(message, self._name)
        return CHARSETS[charset]

    def _read_content(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            block = data[start:end]
            self._spool.write(block)
            self.digest.update(block)
            return
        if len(self._content) + end - start > MAX_FIELD_BYTES:
            message = f"The part {quoted(self._name)} is longer than {MAX_FIELD_BYTES} bytes; the audio is "
            message += "the part 'file'."
            raise invalid_request(message, self._name)
        self._content += data[start:end]

    def _end_part(self) -> None:
        if not self._is_file:
            content = f"The part {quoted(self._name)}"
            self.fields.append((self._name, _decoded(self._content, content, self._charset, self._name)))

    def _end(self) -> None:
        self._ended = True


def _decoded(content: bytes | bytearray, what: str, charset: str = "utf-8", param: str | None = None) -> str:
    try:
        return content.decode(charset)
    except UnicodeDecodeError as error:
        message = f"{what} is not valid {charset.upper()}, at byte {error.start}."
        raise invalid_request(message, param) from error


def _base_name(filename: bytes) -> str:
    name = filename.decode("utf-8", "replace").replace("\\", "/").rpartition("/")[2]
    return "".join(letter for letter in name if letter.isprintable())[:MAX_FILENAME]
