"""The page of the server in a browser: transcripts, their words in playback, downloads."""

from __future__ import annotations

import json
from pathlib import Path

from playwright.sync_api import Page, expect

from pipelines.server.form import FormRules, parse_form
from tests.support.browser import choose, wait_for_text, word
from tests.support.page_server import SENTENCES, Gate, PageServer, talk

RULES = FormRules(model="openai/whisper-base", aliases=frozenset(), languages=("en", "de"))
HOSTILE = "<img src=x onerror=alert(1)>"


def test_words_seek_and_are_marked_in_playback(page: Page, wav: Path) -> None:
    choose(page, wav)
    wait_for_text(page)
    assert page.locator("audio").evaluate("audio => audio.paused")
    word(page, "fellow").click()
    current = page.locator(".word[aria-current]")
    expect(current).to_have_text("fellow")
    expect(page.locator(".segment[aria-current]")).to_contain_text("my fellow Americans.")
    expect(current).to_have_text("Americans.")  # a second later
    assert 4 <= page.locator("audio").evaluate("audio => audio.currentTime") <= 5.1
    page.locator(".time").first.click()
    expect(current).to_have_text("And")


def test_starting_a_player_pauses_the_others(page: Page, wav: Path) -> None:
    choose(page, wav, wav)
    expect(page.locator(".status", has_text="Done")).to_have_count(2)
    for n in (0, 1):
        page.locator("article").nth(n).get_by_role("button", name="And", exact=True).click()
        expect(page.locator(".word[aria-current]").nth(n)).to_have_text("And")
    playing = page.locator("audio").evaluate_all("all => all.map(audio => !audio.paused)")
    assert playing == [False, True]


def test_translation_marks_segments(page: Page, server: PageServer, wav: Path) -> None:
    server.script = lambda _: talk(SENTENCES, words=False)
    page.get_by_role("combobox", name="Task").select_option("Translate to English")
    choose(page, wav)
    wait_for_text(page)
    assert server.uploads[0].path == "/v1/audio/translations"
    assert sorted(server.uploads[0].fields) == [("response_format", "verbose_json"), ("stream", "true")]
    assert parse_form(server.uploads[0].fields, RULES, "translate").request.segments
    word(page, "my fellow Americans.").click()
    expect(page.locator(".word[aria-current]")).to_have_text("my fellow Americans.")


def test_downloads(page: Page, wav: Path) -> None:
    choose(page, wav)
    wait_for_text(page)
    done = talk(SENTENCES)[-2]
    assert not isinstance(done, Gate | bytes)
    found = {}
    for kind in ("txt", "srt", "vtt", "json"):
        with page.expect_download() as download:
            page.get_by_role("link", name=f"Download speech.{kind}").click()
        assert download.value.suggested_filename == f"speech.{kind}"
        found[kind] = download.value.path().read_text("utf-8")
    assert found["txt"] == "And so, my fellow Americans.\n"
    assert (found["srt"], found["vtt"]) == (done["srt"], done["vtt"])
    names = ("text", "language", "duration", "usage", "segments", "words")
    assert json.loads(found["json"]) == {name: done[name] for name in names}


def test_text_is_not_parsed_as_html(page: Page, server: PageServer, wav: Path) -> None:
    server.script = lambda _: talk([[HOSTILE, "<b>bold</b>"]])
    hostile = wav.with_name("<b>name.wav")
    wav.rename(hostile)
    choose(page, hostile)
    wait_for_text(page)
    expect(page.locator(".segment p")).to_have_text(f"{HOSTILE} <b>bold</b>")
    expect(page.get_by_role("heading", name="<b>name.wav")).to_be_visible()
    assert page.locator(".job b, .job img").count() == 0


def test_right_to_left(page: Page, server: PageServer, wav: Path) -> None:
    server.script = lambda _: talk([["مرحبا", "بالعالم"]], language="arabic")
    choose(page, wav)
    wait_for_text(page)
    first, second = page.locator(".word").all()
    boxes = [one.bounding_box() for one in (first, second)]
    assert boxes[0] is not None
    assert boxes[1] is not None
    assert boxes[0]["x"] > boxes[1]["x"]
    first.focus()
    page.keyboard.press("ArrowLeft")
    expect(second).to_be_focused()
    expect(page.locator(".segment p")).to_have_attribute("lang", "ar")


def test_words_without_spaces(page: Page, server: PageServer, wav: Path) -> None:
    events = talk([["你好", "世界"]], language="chinese")
    done = events[-2]
    assert isinstance(done, dict)
    done["segments"][0]["text"] = done["text"] = "你好,世界。"
    server.script = lambda _: events
    choose(page, wav)
    wait_for_text(page)
    expect(page.locator(".word")).to_have_text(["你好", "世界"])
    expect(page.locator(".segment p")).to_have_text("你好,世界。")


def test_words_that_are_not_in_the_text(page: Page, server: PageServer, wav: Path) -> None:
    events = talk([["that", "a", "b", "d"]])
    done = events[-2]
    assert isinstance(done, dict)
    done["segments"][0]["text"] = done["text"] = " That ab cat a d"
    server.script = lambda _: events
    choose(page, wav)
    wait_for_text(page)
    expect(page.locator(".word")).to_have_text(["a", "d"])
    expect(page.locator(".segment p")).to_have_text("That ab cat a d")


def test_problems_and_silence_are_said(page: Page, server: PageServer, wav: Path) -> None:
    done = {
        "type": "transcript.text.done",
        "text": "",
        "segments": [],
        "words": [],
        "problem": "the end is missing",
    }
    server.script = lambda _: [done]
    choose(page, wav)
    wait_for_text(page)
    expect(page.locator(".status")).to_contain_text("No speech was found.")
    expect(page.locator(".problem")).to_have_text("The recording has a problem: the end is missing")
    expect(page.locator(".hint")).to_be_hidden()


def test_a_file_that_the_browser_cannot_play(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "talk.wma"
    path.write_bytes(b"not audio")
    choose(page, path)
    wait_for_text(page)
    expect(page.locator("audio")).to_be_hidden()
    word(page, "fellow").click()  # does nothing


def test_long_transcripts_stay_responsive(page: Page, server: PageServer, wav: Path) -> None:
    server.script = lambda _: talk([["word"] * 10] * 1000)
    choose(page, wav)
    wait_for_text(page)
    expect(page.locator(".word")).to_have_count(10_000)
    page.locator(".word").first.focus()
    page.keyboard.press("End")
    expect(page.locator(".word").last).to_be_focused()
