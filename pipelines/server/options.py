"""The options of `whisper-beam serve`, described once for command line, Python and docs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass
from typing import Any

from model.option_fields import option, option_fields, parse_words
from pipelines.option_checks import OptionsError
from pipelines.options import HELP_GROUPS as PIPELINE_GROUPS
from pipelines.options import RecordingOptions

MIB = 1 << 20

HELP_GROUPS: Mapping[str, tuple[str, ...]] = {
    "Where to listen": ("host", "port", "allowed_hosts", "allowed_origins", "api_key", "api_key_file"),
    "Limits": ("max_upload_mb", "max_requests", "rate_limit", "drain_s", "allow_urls"),
    "The model": (
        *("model", "model_alias", "keep_warm", "dtype", "quantization", "batch_size", "parallel_batches"),
        *(
            "mesh",
            "beam_size",
            "patience",
            "best_of",
            "length_penalty",
            "full_windows",
            "suppress_tokens",
            "max_new_tokens",
        ),
    ),
    "Defaults of requests": (
        *("language", "languages", "initial_prompt", "hotwords", "condition_on_previous_text"),
        *("channels",),
        *("audio_stream", "chunk_length_s", "stride_length_s", "windows"),
    ),
    "Safeguards": PIPELINE_GROUPS["Safeguards"],
    "URLs": ("allow_private_hosts", "fetch_timeout_s"),
}
"""The order of the options in the help and in tables, by the group's title."""


@dataclass(frozen=True, kw_only=True)
class ServeOptions(RecordingOptions):
    """The options of a server. Invalid values raise `OptionsError` when the object is created."""

    host: str = option(
        "127.0.0.1",
        "address to listen on; 0.0.0.0 is every IPv4 address of this machine",
        metavar="ADDRESS",
    )
    port: int = option(
        8000, "port to listen on; 0 is any that is free", metavar="N", minimum=0, maximum=65_535
    )
    allowed_hosts: tuple[str, ...] = option(
        (),
        "host names that the server is called by, besides localhost and --host, separated by commas: "
        "example.org, *.example.org, or * for any",
        metavar="NAME,NAME",
        parse=parse_words,
    )
    allowed_origins: tuple[str, ...] = option(
        (),
        "origins of other sites whose pages may call the server (CORS), such as https://example.org, "
        "separated by commas; * is any",
        metavar="ORIGIN,ORIGIN",
        parse=parse_words,
    )
    api_key: tuple[str, ...] = option(
        (),
        "keys that clients must have, separated by commas; better give them in WHISPER_BEAM_API_KEY or in "
        "--api_key_file, as other users of the machine see command lines",
        metavar="KEY,KEY",
        parse=parse_words,
    )
    api_key_file: str | None = option(None, "file with a key a line", metavar="FILE")
    max_upload_mb: float = option(
        1024.0, "maximum size of an uploaded file in MiB", metavar="MIB", minimum=0.01, maximum=65_536
    )
    max_requests: int = option(
        64,
        "transcriptions at a time, which share the batches of the model; further ones are answered 429",
        metavar="N",
        minimum=1,
        maximum=10_000,
    )
    rate_limit: float = option(
        0.0,
        "transcriptions that a client (its key, or else its address) may begin in a minute; 0 is any number",
        metavar="N",
        minimum=0,
    )
    drain_s: float = option(
        120.0,
        "seconds that running transcriptions have when the server is stopped",
        metavar="SECONDS",
        minimum=0,
        maximum=86_400,
    )
    allow_urls: bool = option(
        False, "let clients send a URL in the field url instead of a file, which the server then fetches"
    )
    model_alias: tuple[str, ...] = option(
        (),
        "further names that clients may give the model, separated by commas, besides whisper-1 and its short "
        "names",
        metavar="NAME,NAME",
        parse=parse_words,
    )
    keep_warm: bool = option(
        False,
        "compile the programs of every kind of request before the server is ready; without it, those of "
        "requests with a prompt are compiled when the first one comes, unless they were before",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.host:
            raise OptionsError("--host is empty: is a variable of your shell not set?")
        if self.splits_channels():
            raise OptionsError("--channels split: an answer has one transcript; give mix, left, right or N")
        if self.takes_all_streams():
            raise OptionsError(
                "--audio_stream all: an answer has one transcript; give default, LANGUAGE or N"
            )

    @property
    def max_upload_bytes(self) -> int:
        """The maximum size of an uploaded file in bytes."""
        return int(self.max_upload_mb * MIB)

    def recording_options(self) -> dict[str, Any]:
        """Returns the options of the recordings, by name."""
        return {one.name: getattr(self, one.name) for one in option_fields(RecordingOptions)}


def grouped_options() -> Iterator[tuple[str, Field[Any]]]:
    """Yields the options in the order of the help, each with the title of its group."""
    by_name = {one.name: one for one in option_fields(ServeOptions)}
    for title, names in HELP_GROUPS.items():
        yield from ((title, by_name[name]) for name in names)
