"""The page of the server in a browser: its controls, by mouse, by keyboard and on a small screen."""

from __future__ import annotations

import io
from pathlib import Path

import av
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import Errors, choose, opened_page, wait_for_text, word
from tests.support.page_server import PageServer


def test_page_loads_and_shows_the_model(page: Page, server: PageServer) -> None:
    expect(page.get_by_role("heading", name="Transcribe speech")).to_be_visible()
    expect(page.locator("#model")).to_have_text("openai/whisper-base")
    assert page.locator("#language option").count() == 101
    expect(page.locator("#key-form")).to_be_hidden()


def test_policy_holds(page: Page, errors: Errors) -> None:
    assert page.evaluate(
        "() => { try { document.body.innerHTML = '<p>' } catch (error) { return error.name } }"
    )
    errors.expect("TrustedHTML")
    page.evaluate(
        "() => document.body.append(Object.assign("
        "document.createElement('style'), {textContent: 'p {color: red}'}))"
    )
    errors.expect("style-src")
    assert page.evaluate("fetch('http://localhost:9/').catch(error => error.name)") == "TypeError"
    errors.expect("connect-src|Refused to connect")


def test_keyboard_alone(page: Page, wav: Path) -> None:
    press = page.keyboard.press
    page.get_by_label("Prompt").focus()
    press("Tab")
    with page.expect_file_chooser() as chooser:
        page.evaluate("null")  # keys may arrive before an earlier command; the page answers it after that
        press("Space")
    chooser.value.set_files(wav)
    wait_for_text(page)
    focused = page.locator(":focus")
    for _ in range(30):  # also through the controls of the player
        press("Tab")
        if page.evaluate("document.activeElement.className") == "word":
            break
    expect(focused).to_have_text("And")
    assert focused.evaluate("element => getComputedStyle(element).outlineStyle") == "solid"
    for key, text in [
        ("ArrowRight", "so,"),
        ("ArrowRight", "my"),
        ("ArrowUp", "And"),
        ("ArrowLeft", "And"),
        ("End", "Americans."),
        ("Home", "And"),
        ("ArrowDown", "my"),
    ]:
        press(key)
        expect(focused).to_have_text(text)
    press("Enter")
    expect(page.locator(".word[aria-current]")).to_have_text("my")
    press("Tab")  # the words are one stop
    expect(focused).to_have_attribute("aria-label", "Download speech.txt")
    with page.expect_download() as download:
        press("Enter")
    assert download.value.path().read_text("utf-8") == "And so, my fellow Americans.\n"


def test_every_control_has_a_name(page: Page, wav: Path) -> None:
    choose(page, wav)
    wait_for_text(page)
    snapshot = page.locator("main").aria_snapshot()
    unnamed = [
        line
        for line in snapshot.splitlines()
        if line.strip(" -:") in ("button", "textbox", "combobox", "link", "article", "region", "option")
    ]
    assert unnamed == []
    assert 'article "speech.wav"' in snapshot


def test_narrow_and_dark(browser: Browser, server: PageServer, wav: Path) -> None:
    backgrounds = set()
    for scheme in ("light", "dark"):
        size = {"width": 360, "height": 640}
        with opened_page(browser, server.url, viewport=size, color_scheme=scheme) as (page, _):
            choose(page, wav)
            wait_for_text(page)
            assert page.evaluate("document.documentElement.scrollWidth") == 360
            backgrounds.add(page.locator("body").evaluate("body => getComputedStyle(body).backgroundColor"))
    assert len(backgrounds) == 2


def test_drop(page: Page, server: PageServer) -> None:
    transfer = page.evaluate_handle(
        "() => { const data = new DataTransfer();"
        "data.items.add(new File(['abc'], 'dropped.mp3')); return data }"
    )
    page.dispatch_event("body", "dragover", {"dataTransfer": transfer})
    expect(page.locator("body")).to_have_class("dragging")
    page.dispatch_event("body", "drop", {"dataTransfer": transfer})
    wait_for_text(page)
    expect(page.locator("body")).to_have_class("")
    assert (server.uploads[0].filename, server.uploads[0].content) == ("dropped.mp3", b"abc")


def length_s(content: bytes) -> float:
    with av.open(io.BytesIO(content)) as container:
        return sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))


def test_recording(page: Page, server: PageServer) -> None:
    page.get_by_role("button", name="Record", exact=True).click()
    expect(page.locator("#recorder-status")).to_have_text("Recording, 0:02")
    page.get_by_role("button", name="Stop").click()
    wait_for_text(page)
    (upload,) = server.uploads
    assert upload.filename.startswith("recording-2")
    assert upload.filename.endswith(".webm")
    assert 1.5 < length_s(upload.content) < 5
    duration_s = page.locator("audio").evaluate("audio => audio.duration")
    assert 1.5 < duration_s < 5
    word(page, "so,").click()
    expect(page.locator(".word[aria-current]")).to_have_text("so,")


def test_recording_that_is_discarded(page: Page, server: PageServer) -> None:
    page.get_by_role("button", name="Record", exact=True).click()
    page.get_by_role("button", name="Discard").click()
    expect(page.get_by_role("button", name="Record", exact=True)).to_be_focused()
    expect(page.locator("#recorder-status")).to_have_text("From the microphone")
    expect(page.get_by_role("article")).to_have_count(0)
    assert server.uploads == []
