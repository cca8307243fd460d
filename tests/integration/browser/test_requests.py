"""The page of the server in a browser: uploads, answers as they come, refusals, errors."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from pipelines.server.form import FormRules, parse_form
from tests.support.browser import Errors, choose, opened_page, wait_for_text
from tests.support.page_server import SENTENCES, WAIT_S, Event, Gate, PageServer, Refusal, Step, talk

RULES = FormRules(model="openai/whisper-base", aliases=frozenset(), languages=("en", "de"))
HOSTILE = "<img src=x onerror=alert(1)>"


def test_upload_and_text_are_shown_as_they_come(page: Page, server: PageServer, tmp_path: Path) -> None:
    rest, end = Gate(), Gate()
    events = talk(SENTENCES)
    server.script = lambda _: [events[0], rest, *events[1:4], end, *events[4:]]
    server.upload_gate = Gate()
    large = tmp_path / "large.wav"
    large.write_bytes(bytes(30_000_000))
    choose(page, large)
    status, text = page.locator(".status"), page.locator(".transcript")
    expect(status).to_contain_text("% of 30.0 MB")
    expect(page.get_by_role("progressbar")).to_be_visible()
    server.upload_gate.open()
    expect(text).to_have_text("And so,")  # a delta whose segment has not come
    expect(status).to_have_text("Transcribing")
    rest.open()
    expect(page.locator(".segment")).to_have_count(2)
    expect(page.locator(".tail")).to_be_empty()
    expect(page.get_by_role("link")).to_have_count(0)
    end.open()
    wait_for_text(page)
    expect(status).to_have_text("Done, 0:05 of audio, English")
    expect(page.locator(".segment p")).to_have_text(["And so,", "my fellow Americans."])
    expect(page.locator(".word")).to_have_text(["And", "so,", "my", "fellow", "Americans."])
    assert server.uploads[0].content == large.read_bytes()


def test_fields_of_the_request(page: Page, server: PageServer, wav: Path) -> None:
    page.get_by_role("combobox", name="Language").select_option("German")
    page.get_by_label("Prompt").fill("Grünberg")
    choose(page, wav)
    wait_for_text(page)
    (upload,) = server.uploads
    assert (upload.path, upload.filename, upload.key) == ("/v1/audio/transcriptions", "speech.wav", None)
    assert sorted(upload.fields) == [
        ("language", "de"),
        ("prompt", "Grünberg"),
        ("response_format", "verbose_json"),
        ("stream", "true"),
        ("timestamp_granularities[]", "segment"),
        ("timestamp_granularities[]", "word"),
    ]
    assert parse_form(upload.fields, RULES, "transcribe").ignored == ()
    assert upload.origin == server.url.removesuffix("/")  # not `null`, which is another site's


@pytest.mark.parametrize("during", ["upload", "transcription"])
def test_cancel_ends_the_request(page: Page, server: PageServer, wav: Path, during: str) -> None:
    end = Gate()
    server.script = lambda _: [*talk(SENTENCES)[:2], end]
    if during == "upload":
        server.upload_gate = Gate()
        wav.write_bytes(bytes(20_000_000))
    choose(page, wav)
    if during == "upload":
        expect(page.locator(".status")).to_contain_text("% of 20.0 MB")
    else:
        expect(page.locator(".transcript")).to_contain_text("And so,")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".status")).to_have_text("Cancelled")
    server.upload_gate.open()
    assert server.disconnected.wait(WAIT_S)
    server.script = lambda _: talk(SENTENCES)
    expect(page.get_by_role("button", name="Transcribe again")).to_be_focused()
    page.keyboard.press("Enter")
    wait_for_text(page)


def test_files_wait_for_their_turn(page: Page, server: PageServer, wav: Path, tmp_path: Path) -> None:
    gate = Gate()
    server.script = lambda _: [gate, *talk(SENTENCES)]
    other = tmp_path / "other.wav"
    other.write_bytes(wav.read_bytes())
    choose(page, wav, other)
    statuses = page.locator(".status")
    expect(statuses).to_have_text(["Uploaded; waiting for the first text", "Waiting"])
    page.get_by_role("button", name="Cancel").nth(1).click()
    expect(statuses.nth(1)).to_have_text("Cancelled")
    page.get_by_role("button", name="Transcribe again").click()
    gate.open()
    expect(page.locator(".status", has_text="Done")).to_have_count(2)
    assert [upload.filename for upload in server.uploads] == ["speech.wav", "other.wav"]
    page.get_by_role("button", name="Remove").first.click()
    expect(page.get_by_role("article")).to_have_count(1)


def test_key_is_asked_for(page: Page, server: PageServer, errors: Errors, wav: Path) -> None:
    expect(page.locator("#model")).to_have_text("openai/whisper-base")
    server.keys = {"secret"}
    choose(page, wav)
    expect(page.get_by_role("alert").first).to_have_text("Incorrect API key provided.")
    expect(page.locator(".status")).to_have_text("Waiting for the API key")
    field = page.get_by_label("API key")
    expect(field).to_be_focused()
    field.fill("wrong")
    field.press("Enter")
    expect(page.get_by_role("alert").first).to_have_text("no models without a key")
    field.fill("secret")
    page.get_by_role("button", name="Use key").click()
    wait_for_text(page)
    assert [upload.key for upload in server.uploads] == ["secret"]
    expect(page.get_by_role("alert").first).to_be_empty()
    expect(page.locator("#key-form")).to_be_hidden()
    assert page.evaluate("[localStorage.length, document.cookie, sessionStorage.length]") == [0, "", 1]
    errors.expect("status of 401")
    page.reload()
    expect(page.locator("#model")).to_have_text("openai/whisper-base")


def test_key_is_asked_for_at_once_where_the_models_need_it(browser: Browser, server: PageServer) -> None:
    server.keys = {"secret"}
    with opened_page(browser, server.url) as (page, errors):
        expect(page.locator("#model")).to_have_text("This server asks for an API key.")
        expect(page.get_by_label("API key")).to_be_visible()
        page.get_by_label("API key").fill("secret")
        page.get_by_label("API key").press("Enter")
        expect(page.locator("#model")).to_have_text("openai/whisper-base")
        errors.expect("status of 401")


def error_event(message: str) -> Event:
    return {"error": {"message": message, "type": "server_error", "param": None, "code": None}}


BROKEN: dict[str, tuple[list[Step] | Refusal, str]] = {
    "error event": ([*talk(SENTENCES)[:2], error_event(HOSTILE)], HOSTILE),
    "refusal": (Refusal(400, "Invalid file format."), "Invalid file format."),
    "end without done": (talk(SENTENCES)[:2], "The server ended the answer before the text was complete."),
    "no JSON": ([b"data: {\n\n"], "The answer of the server cannot be read."),
}


@pytest.mark.parametrize("name", BROKEN)
def test_errors_are_shown(page: Page, server: PageServer, errors: Errors, wav: Path, name: str) -> None:
    answer, message = BROKEN[name]
    server.script = lambda _: answer
    choose(page, wav)
    expect(page.get_by_role("article").get_by_role("alert")).to_have_text(message)
    expect(page.locator(".status")).to_have_text("Not transcribed")
    if isinstance(answer, Refusal):
        errors.expect("status of 400")
    server.script = lambda _: talk(SENTENCES)
    page.get_by_role("button", name="Transcribe again").click()
    wait_for_text(page)
    expect(page.get_by_role("article").get_by_role("alert")).to_be_empty()


def test_a_busy_server_is_asked_again(page: Page, server: PageServer, errors: Errors, wav: Path) -> None:
    answers: list[list[Step] | Refusal] = [Refusal(429, "too many", {"Retry-After": "1"}), talk(SENTENCES)]
    server.script = lambda _: answers.pop(0)
    choose(page, wav)
    expect(page.locator(".status")).to_have_text("The server is busy; trying again in 1 s")
    wait_for_text(page)
    errors.expect("status of 429")


def test_nothing_is_uploaded_while_the_model_loads(browser: Browser, server: PageServer, wav: Path) -> None:
    server.is_loading = True
    with opened_page(browser, server.url) as (page, errors):
        expect(page.locator("#model")).to_have_text("The model is loading…")
        choose(page, wav)
        expect(page.locator(".status")).to_have_text("Waiting for the model to load")
        assert server.uploads == []
        server.is_loading = False
        wait_for_text(page)
        expect(page.locator("#model")).to_have_text("openai/whisper-base")
        errors.expect("status of 503")
