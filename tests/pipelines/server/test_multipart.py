from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.server.errors import ApiError
from pipelines.server.multipart import MAX_FIELD_BYTES, MAX_PARTS, Multipart
from tests.support.asgi import BOUNDARY, audio_part, form_body, part
from tests.support.bad_forms import REFUSED_BODIES
from transforms.core.errors import AudioError
from transforms.fetch.policy import Limits
from transforms.fetch.spool import Spool

LIMITS = Limits(bytes_each=1 << 20, bytes_in_memory=1 << 20)


@pytest.fixture
def spool() -> Iterator[Spool]:
    with Spool(LIMITS) as copy:
        yield copy


def parse(spool: Spool, *blocks: bytes) -> Multipart:
    form = Multipart(BOUNDARY.encode(), spool)
    for block in blocks:
        form.write(block)
    form.finish()
    return form


def test_parts_are_fields_and_a_file(spool: Spool) -> None:
    form = parse(spool, form_body(part("model", "base"), part("prompt", "Grüße"), audio_part(b"audio")))
    assert form.fields == [("model", "base"), ("prompt", "Grüße")]
    assert form.filename == "talk.wav"
    assert spool.file.read() == b"audio"
    assert form.digest.hexdigest() == hashlib.sha256(b"audio").hexdigest()


def test_file_may_come_first(spool: Spool) -> None:
    form = parse(spool, form_body(audio_part(b"audio"), part("keywords[]", "a"), part("keywords[]", "b")))
    assert form.fields == [("keywords[]", "a"), ("keywords[]", "b")]
    assert spool.n_bytes == 5


def test_form_without_a_file(spool: Spool) -> None:
    form = parse(spool, form_body(part("url", "https://example.org")))
    assert form.filename is None
    assert spool.n_bytes == 0


TEXTS = st.text(st.characters(codec="utf-8"), max_size=30)
# Contents that look like the boundary are the hard ones.
PIECES = st.sampled_from([b"\r\n", b"--", BOUNDARY.encode(), b"-", b"\r", b"\n", b"\x00\xff", b"audio"])
CONTENTS = (
    st.lists(PIECES, max_size=12).map(b"".join).filter(lambda c: b"\r\n--" + BOUNDARY.encode() not in c)
)


@settings(max_examples=300, deadline=None)
@given(st.lists(TEXTS, max_size=3), CONTENTS, st.integers(0, 3), st.data())
def test_result_does_not_depend_on_the_blocks(
    texts: list[str], content: bytes, place: int, data: st.DataObject
) -> None:
    parts = [part(f"field{index}", text) for index, text in enumerate(texts)]
    parts.insert(place, audio_part(b"R" + content))
    body = form_body(*parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=8)))
    blocks = [body[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    with Spool(LIMITS) as spool:
        form = parse(spool, *blocks)
        assert form.fields == [(f"field{index}", text) for index, text in enumerate(texts)]
        assert spool.file.read() == b"R" + content
        assert form.digest.hexdigest() == hashlib.sha256(b"R" + content).hexdigest()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_body_is_a_form_or_an_error_of_the_client(data: st.DataObject) -> None:
    body = bytearray(form_body(part("model", "base"), audio_part(b"audio"), part("language", "de")))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        body = body or bytearray(b"-")
    error = None
    with Spool(LIMITS) as spool:
        try:
            parse(spool, bytes(body))
        except ApiError as caught:
            error = caught
    assert error is None or error.status == 400
    assert error is None or error.response().body  # it can be encoded


@pytest.mark.parametrize("name", ["C:\\Users\\Ada\\talk.wav", "/etc/talk.wav", "../talk.wav", "ta\x07lk.wav"])
def test_filename_is_the_last_part_of_the_path(spool: Spool, name: str) -> None:
    assert parse(spool, form_body(audio_part(filename=name))).filename == "talk.wav"


def test_filename_of_any_letters(spool: Spool) -> None:
    assert parse(spool, form_body(audio_part(filename="Vortrag ä 講演.mp3"))).filename == "Vortrag ä 講演.mp3"


def test_file_needs_a_name_or_a_type(spool: Spool) -> None:
    assert parse(spool, form_body(audio_part(filename=None))).filename == ""


def test_declared_latin_1_is_decoded(spool: Spool) -> None:
    content = part(
        "prompt", "Grüße".encode("latin-1"), None, ["Content-Type: text/plain; charset=ISO-8859-1"]
    )
    assert parse(spool, form_body(content)).fields == [("prompt", "Grüße")]


@pytest.mark.parametrize(("body", "message", "param"), REFUSED_BODIES.values(), ids=REFUSED_BODIES)
def test_other_bodies_are_refused(
    spool: Spool, body: bytes, message: str, param: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ApiError) as caught:
        parse(spool, body)
    assert message in caught.value.message
    assert (caught.value.status, caught.value.param) == (400, param)
    assert caplog.records == []


def test_longest_field_and_most_parts_are_accepted(spool: Spool) -> None:
    parts = [part("x", "x" * MAX_FIELD_BYTES)] + [part("x", "")] * (MAX_PARTS - 1)
    assert len(parse(spool, form_body(*parts)).fields) == MAX_PARTS


def test_boundary_has_a_maximum_length(spool: Spool) -> None:
    with pytest.raises(ApiError, match="Invalid boundary"):
        Multipart(b"x" * 300, spool)


def test_limit_of_the_spool_is_that_of_the_file() -> None:
    with Spool(Limits(bytes_each=10, bytes_in_memory=10)) as spool:
        with pytest.raises(AudioError, match="too_large"):
            parse(spool, form_body(audio_part(b"x" * 11)))
        assert spool.n_bytes == 0
