from __future__ import annotations

import pytest

from transforms.core.redaction import redact

SIGNED = (
    "https://user:hunter2@host.example/talks/a%20b.mp3?part=2&X-Amz-Credential=AKIAEXAMPLE%2F2026"
    "&X-Amz-Signature=5ec4e7&lang=en"
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/data/a.wav", "/data/a.wav"),
        ("/data/100% sure? & more.wav", "/data/100% sure? & more.wav"),
        ("/data/episode.mp3?token=abc", "/data/episode.mp3?token=abc"),
        ("https://h/a.wav?code=abc", "https://h/a.wav"),
        (SIGNED, "https://host.example/talks/a%20b.mp3?part=2&lang=en"),
        ("s3://key:secret@bucket/me@home.wav", "s3://bucket/me@home.wav"),
        ("simplecache::ftp://me:pa@ss@host/a.wav", "simplecache::ftp://host/a.wav"),
        ("https://h/a.wav?sv=1&sig=abc%3D", "https://h/a.wav?sv=1"),
        ("https://h/a.wav?token=abc", "https://h/a.wav"),
        ("https://h/a.wav#access_token=abc", "https://h/a.wav"),
        ("https://h/a.wav?id=1#t=10", "https://h/a.wav?id=1#t=10"),
        ("https://h/a.wav?at=me@home", "https://h/a.wav?at=me@home"),
        ("Max retries exceeded with url: /a.wav?x=1&Signature=abc (no route)",
         "Max retries exceeded with url: /a.wav?x=1 (no route)"),
        ("is it 'https://h/a?api_key=k' or 'http://u:p@g/b'?", "is it 'https://h/a' or 'http://g/b'?"),
        ("/data/caf\udce9.wav", "/data/caf\\udce9.wav"),
        ("/data/m.csv, line 3: url is 'https://u:p@h/a?token=abc', where",
         "/data/m.csv, line 3: url is 'https://h/a', where"),
        ("/data/authorization: mine.wav", "/data/authorization: mine.wav"),
        ("cannot read https://h/a?token=abc: gone (https://h/b?x=1&token=abc).",
         "cannot read https://h/a: gone (https://h/b?x=1)."),
        ("https://h/a.wav?%74oken=abc&x=1", "https://h/a.wav?x=1"),
        ("https://h/a.wav?x=1;token=abc", "https://h/a.wav?x=1"),
        ("https://h/a;jsessionid=abc/b.wav;v=2", "https://h/a/b.wav;v=2"),
        ("https://h/a.wav?eyJhbGciOiJIUzI1NiJ9.e30", "https://h/a.wav"),
        ("https://h/a.wav?what-is-this-recording-about", "https://h/a.wav?what-is-this-recording-about"),
        ("https://h/get?x=1&url=https%3A%2F%2Fu%3Ap%40g%2Fa", "https://h/get?x=1"),
        ("https://h/get?x=1&url=https%3A%2F%2Fg%2Fa", "https://h/get?x=1&url=https%3A%2F%2Fg%2Fa"),
        ("sent Authorization: Basic YTpi, got 401", "sent Authorization: [hidden], got 401"),
        ("{'X-Api-Key': 'abc', 'Accept': '*/*'}", "{'X-Api-Key': [hidden], 'Accept': '*/*'}"),
        ("[(b'Cookie', b'id=abc'), (b'Host', b'h')]", "[(b'Cookie', [hidden]), (b'Host', b'h')]"),
        ("Authorization: Bearer abc", "Authorization: [hidden]"),
        ("the authorization of the speaker", "the authorization of the speaker"),
    ],
)  # fmt: skip
def test_redact_removes_credentials_and_nothing_else(text: str, expected: str) -> None:
    assert redact(text) == expected
