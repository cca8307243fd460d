from __future__ import annotations

import base64
import random
import re
from itertools import combinations
from time import process_time
from urllib.parse import quote

import pytest

from transforms.core.redaction import HIDDEN, redact, redact_text, redact_value
from transforms.core.uris import audio_id_of

SIGNED = (
    "https://user:hunter2@host.example/talks/a%20b.mp3?part=2&X-Amz-Credential=AKIAEXAMPLE%2F2026"
    "&X-Amz-Signature=5ec4e7&lang=en"
)
RANDOM = "c2VjcmV0a2V5MTIz4xQ"
MD5 = "6f1ed002ab5595859014ebf0951522d9"
UUID = "550e8400-e29b-41d4-a716-446655440000"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"


def masked(text: str) -> str:
    """Returns a redacted text with the digests of its secrets as `*`."""
    return re.sub(r"hidden-[0-9a-f]{16}", "*", redact(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/data/a.wav", "/data/a.wav"),
        ("/data/100% sure? & more.wav", "/data/100% sure? & more.wav"),
        ("/data/episode.mp3?token=abc", "/data/episode.mp3?token=abc"),
        (SIGNED, "https://host.example/talks/a%20b.mp3?part=2&lang=en"),
        ("s3://key:secret@bucket/me@home.wav", "s3://bucket/me@home.wav"),
        ("simplecache::ftp://me:pa@ss@host/a.wav", "simplecache::ftp://host/a.wav"),
        ("https://h/a.wav?sv=1&se=2&sp=r&sig=abc%3D", "https://h/a.wav"),
        ("https://h/a.wav?x=1&AWSAccessKeyId=AK&Expires=17&Signature=abc", "https://h/a.wav?x=1"),
        ("https://h/a.wav?X-Goog-Signature=abc&X-Goog-Date=1", "https://h/a.wav"),
        ("https://h/a.wav?token=abc", "https://h/a.wav?token=*"),
        ("https://h/a.wav#access_token=abc", "https://h/a.wav#access_token=*"),
        ("https://h/a.wav?sig=abc", "https://h/a.wav?sig=*"),
        ("https://h/a.wav?token=", "https://h/a.wav?token="),
        ("https://h/a.wav?id=1#t=10", "https://h/a.wav?id=1#t=10"),
        ("https://h/a.wav?at=me@home", "https://h/a.wav?at=me@home"),
        ("Max retries exceeded with url: /a.wav?x=1&Signature=abc (no route)",
         "Max retries exceeded with url: /a.wav?x=1 (no route)"),
        ("is it 'https://h/a?api_key=k' or 'http://u:p@g/b'?", "is it 'https://h/a?api_key=*' or 'http://g/b'?"),
        ("/data/caf\udce9.wav", "/data/caf\\udce9.wav"),
        ("/data/m.csv, line 3: url is 'https://u:p@h/a?token=abc', where",
         "/data/m.csv, line 3: url is 'https://h/a?token=*', where"),
        ("/data/authorization: mine.wav", "/data/authorization: mine.wav"),
        ("cannot read https://h/a?token=abc: gone (https://h/b?x=1&token=abc).",
         "cannot read https://h/a?token=*: gone (https://h/b?x=1&token=*)."),
        ("https://h/a.wav?%74oken=abc&x=1", "https://h/a.wav?%74oken=*&x=1"),
        ("https://h/a.wav?x=1;token=abc", "https://h/a.wav?x=1;token=*"),
        ("https://h/a;jsessionid=abc/b.wav;v=2", "https://h/a;jsessionid=*/b.wav;v=2"),
        ("https://h/a.wav?eyJhbGciOiJIUzI1NiJ9.e30", "https://h/a.wav?*"),
        ("https://h/a.wav?what-is-this-recording-about", "https://h/a.wav?what-is-this-recording-about"),
        ("https://h/get?x=1&url=https%3A%2F%2Fu%3Ap%40g%2Fa", "https://h/get?x=1&url=*"),
        ("https://h/get?x=1&url=https%3A%2F%2Fg%2Fa", "https://h/get?x=1&url=https%3A%2F%2Fg%2Fa"),
        ("https://h/a?x-api-key=abc&lang=en", "https://h/a?x-api-key=*&lang=en"),
        ("https://h/a?authorization=abc&lang=en", "https://h/a?authorization=*&lang=en"),
        ("sent Authorization: Basic YTpi, got 401", "sent Authorization: [hidden], got 401"),
        ("{'X-Api-Key': 'abc', 'Accept': '*/*'}", "{'X-Api-Key': [hidden], 'Accept': '*/*'}"),
        ("[(b'Cookie', b'id=abc'), (b'Host', b'h')]", "[(b'Cookie', [hidden]), (b'Host', b'h')]"),
        ("Authorization: Bearer abc", "Authorization: [hidden]"),
        ("the authorization of the speaker", "the authorization of the speaker"),
        ("X-Authorization: Bearer abc", "X-Authorization: [hidden]"),
        ("{'X-Original-Authorization': 'Bearer abc'}", "{'X-Original-Authorization': [hidden]}"),
        ("headers=Authorization: Bearer abc", "headers=Authorization: [hidden]"),
        ("My-Cookie: a=b", "My-Cookie: [hidden]"),
        ("GET /a?x-functions-key=hunter2 200", "GET /a?x-functions-key=* 200"),
        ("https://h/a?user=bob;pass=hunter2", "https://h/a?user=bob;pass=*"),
        ("https://h/wiki#BlackLivesMatter", "https://h/wiki#BlackLivesMatter"),
        ("s3://b/ASIA-Pacific-conference-2024/a.wav", "s3://b/ASIA-Pacific-conference-2024/a.wav"),
        ("s3://b/hf_interview_recording_0001.wav", "s3://b/hf_interview_recording_0001.wav"),
        (f"https://h/{JWT}/a.wav", "https://h/*/a.wav"),
        (f"https://h/a.wav?id={JWT}", "https://h/a.wav?id=*"),
    ],
)  # fmt: skip
def test_redact_removes_credentials_and_nothing_else(text: str, expected: str) -> None:
    assert masked(text) == expected


@pytest.mark.parametrize(
    ("parameter", "is_hidden"),
    [
        ("key=call-0001", False), ("code=17", False), ("session=abc123", True), ("pass=hunter2", True),
        ("key=recordings/2024-05-12/part-0001.wav", False), ("key=interview2024recording0001", False),
        ("expires=1700000000", False), ("policy=open", False), (f"id={UUID}", False), (f"file={MD5}", False),
        (f"key={RANDOM}", True), (f"code={RANDOM}", True), (f"md5={MD5}", True), (f"session={UUID}", True),
        ("sign=abcdef12", True), ("hmac=1", True), ("md5=ABC123", True), ("ticket=7", True),
        ("x-functions-key=hunter2", True), ("X-Authorization=a", True), ("my-cookie=a", True),
        ("session_key=a", True), ("token%0A=a", True), ("session_name=morning", False),
        ("password=x", True), ("access_token=1", True), ("api_key=short", True), ("hdnts=exp=1~hmac=2", True),
    ],
)  # fmt: skip
def test_secrets_are_known_by_name_and_by_shape(parameter: str, is_hidden: bool) -> None:
    uri = f"https://h/rec?{parameter}&lang=en"
    name = parameter.partition("=")[0]
    assert masked(uri) == (f"https://h/rec?{name}=*&lang=en" if is_hidden else uri)


def test_random_keys_are_hidden() -> None:
    generator = random.Random(0)
    keys = [base64.urlsafe_b64encode(generator.randbytes(16)).decode().rstrip("=") for _ in range(1000)]
    n_hidden = sum(masked(f"https://h/rec?key={key}") == "https://h/rec?key=*" for key in keys)
    assert n_hidden >= 990


@pytest.mark.parametrize(
    "name",
    [
        "interview-2024-recording-0001", "recordings/2024-05-12/Part-0001_final.wav", "978-3-16-148410-0",
        "2024-05-12T09-30-00Z", "2024-05-12T09:30:00+02:00", "call_20240131_093000_Agent007_LineB",
        "Agent7_LineB_Call3_Part2", "InterviewWithJohnSmith2024", "BBC_Radio4_2024-05-12_Part2",
        "ES2002a_Mix-Headset_Ch1", "LJ001-0001_Wav22kHz_Mono", "B007-S02-E03-T14-P01-R22",
    ],
)  # fmt: skip
def test_names_of_recordings_stay(name: str) -> None:
    assert redact(f"https://h/rec?key={name}") == f"https://h/rec?key={name}"


def test_recordings_that_differ_never_get_one_uri() -> None:
    names = (
        "token",
        "key",
        "code",
        "api_key",
        "password",
        "sig",
        "session",
        "url",
        "expires",
        "id",
        "jwt",
        "",
    )
    values = (
        "1",
        "2",
        "call-0001",
        "call-0002",
        RANDOM,
        RANDOM[::-1],
        MD5,
        UUID,
        "https%3A%2F%2Fu%3Ap%40g%2Fa",
    )
    uris = [f"https://h/rec?{name}{'=' * bool(name)}{value}" for name in names for value in values]
    uris += [f"https://h/rec;jsessionid={value}" for value in values]
    uris += [f"https://h/rec?a=1{separator}b=2&token=a" for separator in "&;"]
    uris += [f"https://h/rec?a=1;X-Amz-Signature={value}" for value in "ab"]
    uris += [f"https://h/rec?%58-Amz-Signature={value}" for value in "ab"]
    uris += [f"https://h/rec?{name}={value}" for name in ("x%2Dauthorization", "q=cookie") for value in "ab"]
    uris += [f"https://h/x-token={value}/a.wav" for value in "ab"]
    uris += [f"simplecache::https://h/rec?X-Amz-Signature={value}" for value in "ab"]
    uris += [f"https://h/rec/eyJhbGciOiJIUzI1NiJ9.{value}/a.wav" for value in ("a", "b")]
    for one, other in combinations(uris, 2):
        assert audio_id_of(one) != audio_id_of(other)
        assert redact(one) != redact(other)


def test_recording_that_was_signed_anew_keeps_its_uri() -> None:
    for one, other in (
        ("https://h/a.wav?X-Amz-Signature=a&X-Amz-Date=1", "https://h/a.wav?X-Amz-Signature=b"),
        ("https://h/a.wav?sv=1&sig=a&se=3", "https://h/a.wav?sv=1&sig=b&se=4"),
        ("https://h/a.wav?Expires=1&Signature=a&Key-Pair-Id=k", "https://h/a.wav?Expires=2&Signature=b"),
        ("https://me:one@h/a.wav", "https://me:two@h/a.wav"),
    ):
        assert audio_id_of(one) == audio_id_of(other)
        assert redact(one) == redact(other)


@pytest.mark.parametrize("text", [SIGNED, f"https://h/{JWT};token=a?token=a&{RANDOM}#password=b", f"a {JWT}"])
def test_redacted_text_is_not_changed_again(text: str) -> None:
    assert redact(redact(text)) == redact(text) == redact_text(redact(text))


def test_digests_of_the_same_secret_differ_from_url_to_url() -> None:
    one, other = (redact(f"https://h/{name}?password=hunter2") for name in "ab")
    assert one.partition("=")[2] != other.partition("=")[2]


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: mine. What?token no; a@b.example, C#, 'cookie': yes",
        "We say #BlackLivesMatter today",
        "what?token=yes and ;pass=no",
        "#IStandWithUkraine2022AndMore",
        "the ASIA-Pacific-Economic-Cooperation",
        "see https://h/wiki#BlackLivesMatter",
    ],
)
def test_what_people_wrote_is_kept(text: str) -> None:
    assert redact_text(text) == redact_value(text, "note") == text


def test_credentials_in_what_people_wrote_are_hidden() -> None:
    assert "hunter2" not in redact_text("at (https://h/a?pass=hunter2), and https://h/b;pass=hunter2")
    assert JWT not in redact_text(f"a {JWT}, he says")
    assert redact_text("Authorization: Bearer abc, and https://u:p@h/a") == (
        "Authorization: Bearer [hidden], and https://h/a"
    )


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("page", SIGNED, "https://host.example/talks/a%20b.mp3?part=2&lang=en"),
        ("links", [SIGNED, {"more": ["s3://k:s@b/a"]}], [
            "https://host.example/talks/a%20b.mp3?part=2&lang=en", {"more": ["s3://b/a"]}]),
        ("path", "clips/a.wav?X-Amz-Signature=abc", "clips/a.wav"),
        ("path", "/clips/a.wav?b", "/clips/a.wav?b"),
        ("note", "see https://u:p@h/a for more", "see https://h/a for more"),
        ("path", "clips/a.wav?x=1&X-Amz-Signature=abc&X-Amz-Date=1", "clips/a.wav?x=1"),
        ("password", "hunter2", HIDDEN),
        ("password", 1234, HIDDEN),
        ("password", 0, HIDDEN),
        ("password", None, None),
        ("password", True, True),
        ("api_key", [12], HIDDEN),
        ("api_key", [], []),
        ("api_key", {"a": 1234}, HIDDEN),
        ("all", {"cookies": {"session": "x"}}, {"cookies": HIDDEN}),
        ("db_password", "hunter2", HIDDEN),
        ("API-Key", "k", HIDDEN),
        ("login", {"user": "me", "passwd": "x"}, {"user": "me", "passwd": HIDDEN}),
        ("password", "", ""),
        ("tokens", f"{RANDOM} is here, iPhone12ProMaxCase2020", f"{RANDOM} is here, iPhone12ProMaxCase2020"),
        ("md5", MD5, MD5),
        ("session", UUID, UUID),
        ("token", "hello", "hello"),
        ("tokens", ["a", "b"], ["a", "b"]),
        ("key", RANDOM, RANDOM),
        ("time_signature", "4/4", "4/4"),
        ("speaker", 7, 7),
        ("snr", None, None),
        ("clean", True, True),
    ],
)  # fmt: skip
def test_values_of_metadata(name: str, value: object, expected: object) -> None:
    assert redact_value(value, name) == expected


@pytest.mark.parametrize(("name", "value"), [("token", RANDOM), ("session_id", UUID), ("tokens", JWT)])
def test_rows_can_be_joined_by_what_is_secret_by_its_shape(name: str, value: str) -> None:
    hidden = redact_value(value, name)
    assert re.fullmatch(r"hidden-[0-9a-f]{16}", str(hidden))
    assert hidden == redact_value(value, name) == redact_value(hidden, name)
    assert redact_value([value, value[:-1]], name) != [hidden, hidden]


HOSTILE = [
    "-eyJ", "eyJaaaaaaaaaaa.", "a", "a.", "://", "a@", "x-", "x-token", "token", "cookie=", "authorization ",
    "cookie:\"", "?token=a", "&pass=a", ";a", ";u=", "%3A%2F%2F;u=", "?u=://%3Fu=", "hf_", "-glpat-", "AKIA",
    "key%0A", "aB1_", " ", "'", "?", "#",
]  # fmt: skip


@pytest.mark.parametrize("part", HOSTILE)
def test_hostile_texts_take_linear_time(part: str) -> None:
    started = process_time()
    for beginning in ("", "/", "https://h/a?key="):
        text = beginning + part * (2**18 // len(part)) + "\n"
        redact(text)
        redact_text(text)
        redact_value(text.strip(), "token")
        redact_value(1, text)
    assert process_time() - started < 30  # 2 s; one quadratic expression takes minutes


def test_urls_that_are_nested_deeply_take_no_time() -> None:
    url = "a"
    for _ in range(60):
        url = f"https://h/a?a=b;u={quote(url, safe='')}"
        if len(url) > 2**16:
            break
    started = process_time()
    assert "hidden-" in redact(url)
    assert process_time() - started < 5
