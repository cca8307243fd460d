"""Forms that a server refuses: fields, bodies and headers."""

from __future__ import annotations

from tests.support.asgi import BOUNDARY, audio_part, form_body, part

Pairs = list[tuple[str, str]]

REFUSED_FIELDS: list[tuple[str, Pairs, str]] = [
    ("no_such_language", [("language", "klingon")], "language"),
    ("invalid_tag", [("language", "xx-US")], "language"),
    ("language_of_larger_models", [("language", "yue")], "language"),
    ("two_languages", [("language", "de"), ("language", "fr")], "language"),
    ("language_of_a_list", [("languages[]", "de"), ("languages[]", "klingon")], "languages"),
    ("auto_in_a_list", [("languages[]", "auto")], "languages"),
    ("language_and_languages", [("language", "de"), ("languages[]", "de")], "languages"),
    ("auto_and_languages", [("language", "auto"), ("languages[]", "de")], "languages"),
    ("format", [("response_format", "xml")], "response_format"),
    ("empty_format", [("response_format", "")], "response_format"),
    ("format_in_capitals", [("response_format", "JSON")], "response_format"),
    ("two_formats", [("response_format", "json"), ("response_format", "verbose_json")], "response_format"),
    ("speakers", [("response_format", "diarized_json")], "response_format"),
    ("hot", [("temperature", "1.01")], "temperature"),
    ("cold", [("temperature", "-0.1")], "temperature"),
    ("nan", [("temperature", "nan")], "temperature"),
    ("infinity", [("temperature", "inf")], "temperature"),
    ("underscore", [("temperature", "0_1")], "temperature"),
    ("arabic_digit", [("temperature", "\u0660")], "temperature"),
    ("comma", [("temperature", "0,5")], "temperature"),
    ("empty_temperature", [("temperature", "")], "temperature"),
    ("long_number", [("temperature", "1e999")], "temperature"),
    ("two_temperatures", [("temperature", "0"), ("temperature", "1")], "temperature"),
    (
        "granularity",
        [("response_format", "verbose_json"), ("timestamp_granularities[]", "words")],
        "timestamp_granularities",
    ),
    (
        "empty_granularity",
        [("response_format", "verbose_json"), ("timestamp_granularities[]", "")],
        "timestamp_granularities",
    ),
    ("words_in_json", [("timestamp_granularities[]", "word")], "timestamp_granularities"),
    ("stream", [("stream", "yes")], "stream"),
    ("empty_stream", [("stream", "")], "stream"),
    ("stream_of_srt", [("stream", "true"), ("response_format", "srt")], "response_format"),
    ("stream_of_vtt", [("stream", "1"), ("response_format", "vtt")], "response_format"),
    ("logprobs", [("include[]", "logprobs")], "include"),
    ("include", [("include", "everything")], "include"),
    ("speaker_names", [("known_speaker_names[]", "Ada")], "known_speaker_names"),
    ("speaker_files", [("known_speaker_references[]", "data:,")], "known_speaker_references"),
    ("chunking", [("chunking_strategy", "manual")], "chunking_strategy"),
    (
        "chunking_threshold",
        [("chunking_strategy[type]", "server_vad"), ("chunking_strategy[threshold]", "2")],
        "chunking_strategy",
    ),
    ("chunking_field", [("chunking_strategy[mode]", "x")], "chunking_strategy"),
    ("url", [("url", "http://127.0.0.1/")], "url"),
]

"""Name of the case, text fields, and the one that is named in the error."""

REFUSED_BODIES: dict[str, tuple[bytes, str, str | None]] = {
    "two_files": (form_body(audio_part(), audio_part()), "two files", "file"),
    "empty_file": (form_body(audio_part(b"")), "file is empty", "file"),
    "file_as_text": (form_body(part("file", "talk.mp3")), "-F file=@talk.mp3", "file"),
    "cut_off": (form_body(audio_part())[:-8], "before the closing boundary", None),
    "cut_off_in_a_header": (b"--" + BOUNDARY.encode() + b"\r\nContent-Dis", "closing boundary", None),
    "nothing": (b"", "before the closing boundary", None),
    "other_boundary": (b"--other\r\n", "not valid multipart/form-data", None),
    "json": (b'{"file": 1}', "not valid multipart/form-data", None),
    "header_without_colon": (f"--{BOUNDARY}\r\nname\r\n\r\n".encode(), "not valid multipart", None),
    "no_disposition": (
        f"--{BOUNDARY}\r\nX: y\r\n\r\n\r\n--{BOUNDARY}--".encode(),
        "Content-Disposition",
        None,
    ),
    "no_name": (form_body(part(None, "x")), "Content-Disposition", None),
    "empty_name": (form_body(part("", "x")), "Content-Disposition", None),
    "attachment": (form_body(part("model", "x", kind="attachment")), "Content-Disposition", None),
    "long_header": (form_body(part("x" * 5000, "x")), "not valid multipart", None),
    "many_headers": (form_body(part("x", "x", headers=["A: b"] * 20)), "not valid multipart", None),
    "many_parts": (form_body(*[part("x", "x")] * (65)), "more than 64 parts", None),
    "long_field": (form_body(part("prompt", "x" * (65_537))), "longer than 65536", "prompt"),
    "file_of_other_name": (form_body(part("audio", b"x" * 70_000, "a.wav")), "the part 'file'", "audio"),
    "invalid_utf_8": (form_body(part("prompt", b"a\xff")), "not valid UTF-8, at byte 1", "prompt"),
    "invalid_utf_8_name": (
        form_body(b'--7f3a2c\r\nContent-Disposition: form-data; name="\xff"\r\n\r\n\r\n'),
        "The name of a part is not valid UTF-8",
        None,
    ),
    "charset": (
        form_body(part("prompt", "x", None, ["Content-Type: a/b; charset=utf-7"])),
        "utf-7",
        "prompt",
    ),
    "base64": (form_body(part("file", "eA==", "a", ["Content-Transfer-Encoding: base64"])), "base64", "file"),
}

"""Name of the case -> body, part of the message, and the field."""

REFUSED_HEADERS: dict[str, tuple[dict[str, str], str]] = {
    "no_type": ({"content-type": ""}, "send the file and its fields as multipart/form-data"),
    "json": ({"content-type": "application/json"}, "'application/json'"),
    "url_encoded": ({"content-type": "application/x-www-form-urlencoded"}, "multipart/form-data"),
    "audio": ({"content-type": "audio/wav; boundary=7f3a2c"}, "'audio/wav"),
    "no_boundary": ({"content-type": "multipart/form-data"}, "has no boundary"),
    "empty_boundary": ({"content-type": "multipart/form-data; boundary="}, "has no boundary"),
    "long_boundary": ({"content-type": f"multipart/form-data; boundary={'x' * 300}"}, "Invalid boundary"),
    "quoted_boundary": ({"content-type": 'multipart/form-data; boundary="a'}, "not valid multipart"),
    "compressed": ({"content-encoding": "gzip"}, "Content-Encoding 'gzip'"),
    "length": ({"content-length": "many"}, "Content-Length 'many'"),
    "negative_length": ({"content-length": "-1"}, "Content-Length '-1'"),
}

"""Name of the case -> headers, and part of the message."""
