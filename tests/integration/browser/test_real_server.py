"""The page with the real server behind it: texts, words, translations, errors, keys, cancelling."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from model.interface import ModelOptions, Transcriber
from pipelines.server.server import Server
from tests.support import tone_backend
from tests.support.browser import Errors, choose, opened_page, wait_for_text, word
from tests.support.raw_http import wait_until
from tests.support.server_backends import WORDS, Gate, held_backend, talk, text_of

MODEL = "openai/whisper-tones"


@pytest.fixture
def talk_file(tmp_path: Path) -> Path:
    path = tmp_path / "talk.wav"
    path.write_bytes(talk(4))
    return path


@contextmanager
def opened(browser: Browser, **options: Any) -> Iterator[tuple[Page, Errors, Server]]:  # noqa: ANN401
    with (
        Server(**{"backend": WORDS, "model": MODEL, "port": 0, "drain_s": 1, **options}) as server,
        opened_page(browser, f"{server.url}/") as (page, errors),
    ):
        yield page, errors, server


def test_transcript(browser: Browser, talk_file: Path) -> None:
    with opened(browser) as (page, _, _):
        expect(page.locator("#model")).to_have_text(MODEL)
        choose(page, talk_file)
        wait_for_text(page)
        expect(page.locator(".status")).to_have_text("Done, 0:04 of audio, English")
        expect(page.locator(".word")).to_have_text(["en0", "en1", "en2", "en3"])
        word(page, "en2").click()
        expect(page.locator(".word[aria-current]")).to_have_text("en2")
        saved = {}
        for kind in ("txt", "srt", "vtt", "json"):
            with page.expect_download() as download:
                page.get_by_role("link", name=f"Download talk.{kind}").click()
            saved[kind] = download.value.path().read_text("utf-8")
    assert saved["txt"] == f"{text_of(4)}\n"
    assert saved["srt"].startswith("1\n00:00:00,000 --> ")
    assert saved["vtt"].startswith("WEBVTT\n")
    whole = json.loads(saved["json"])
    assert (whole["language"], whole["duration"], len(whole["words"])) == ("english", 4.0, 4)


def test_translation(browser: Browser, talk_file: Path) -> None:
    with opened(browser) as (page, _, _):
        page.get_by_role("combobox", name="Task").select_option("Translate to English")
        page.get_by_role("combobox", name="Language").select_option("French")
        choose(page, talk_file)
        wait_for_text(page)
        expect(page.locator(".status")).to_have_text("Done, 0:04 of audio, translated to English")
    assert {(one.task, one.language) for one in tone_backend.REQUESTS} == {("translate", "fr")}


def test_file_that_is_not_audio(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("<html>")
    with opened(browser) as (page, errors, _):
        choose(page, path)
        expect(page.get_by_role("article").get_by_role("alert")).to_contain_text("Invalid file format.")
        errors.expect("status of 400")


def test_key(browser: Browser, talk_file: Path) -> None:
    with opened(browser, api_key=("secret",)) as (page, errors, _):
        expect(page.locator("#model")).to_have_text("This server asks for an API key.")
        page.get_by_label("API key").fill("secret")
        page.get_by_label("API key").press("Enter")
        expect(page.locator("#model")).to_have_text(MODEL)
        choose(page, talk_file)
        wait_for_text(page)
        errors.expect("status of 401")


def test_cancelling_ends_the_transcription(browser: Browser, talk_file: Path) -> None:
    gate = Gate()
    with opened(browser, backend=held_backend(gate)) as (page, _, server):
        choose(page, talk_file)
        assert gate.waiting.acquire(timeout=20)
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator(".status")).to_have_text("Cancelled")
        wait_until(lambda: server._app.admission.n_requests == 0, 5)
        gate.open()
        page.get_by_role("button", name="Transcribe again").click()
        wait_for_text(page)


def test_text_comes_while_the_model_works(browser: Browser, tmp_path: Path) -> None:
    path, gate = tmp_path / "long.wav", Gate()
    path.write_bytes(talk(200))
    with opened(browser, backend=held_backend(gate), batch_size=1, windows="grid") as (page, _, _):
        page.get_by_role("combobox", name="Language").select_option("English")
        choose(page, path)
        gate.let_pass(3)
        expect(word(page, "en20")).to_be_visible()
        expect(page.locator(".status")).to_contain_text("Transcribing, ")
        gate.open()
        wait_for_text(page)
        expect(page.locator(".word")).to_have_count(200)


def test_page_waits_for_the_model(browser: Browser, talk_file: Path) -> None:
    gate = Gate()

    def load(options: ModelOptions) -> Transcriber:
        gate.wait()
        return WORDS.load(options)

    backend = replace(WORDS, load=load)
    server = Server(backend=backend, model=MODEL, port=0).start()
    try:
        with opened_page(browser, f"{server.url}/") as (page, _):
            expect(page.locator("#model")).to_contain_text("loading")
            choose(page, talk_file)
            expect(page.locator(".status")).to_have_text("Waiting for the model to load")
            assert server._app.admission.n_requests == 0
            gate.open()
            wait_for_text(page)
    finally:
        gate.open()
        server.stop(0)
