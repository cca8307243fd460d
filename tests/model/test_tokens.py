from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer

from model.checkpoint import Checkpoint
from model.config import DecodingConfig
from model.languages import LANGUAGES
from model.special_tokens import SpecialTokens
from model.tokens import TokenizerError, WhisperTokenizer, compression_ratio, segments_of
from tests.support.tiny_model import tiny_tokenizer

BEGIN = 50_364
SPECIAL = SpecialTokens(501, 500, 502, 503, 504, 505, 506, 999, 1000, {})


@pytest.fixture(scope="module")
def tokenizer(tiny_checkpoint: Checkpoint) -> WhisperTokenizer:
    return WhisperTokenizer(tiny_checkpoint.tokenizer)


def at(seconds: float) -> int:
    return BEGIN + round(seconds * 50)


def test_special_tokens_have_the_ids_of_the_multilingual_models(tokenizer: WhisperTokenizer) -> None:
    special = tokenizer.special
    assert (special.end_of_text, special.start_of_transcript) == (50_257, 50_258)
    assert (special.translate, special.transcribe) == (50_358, 50_359)
    assert (special.no_speech, special.no_timestamps, special.timestamp_begin) == (50_362, 50_363, BEGIN)
    assert special.languages["en"] == 50_259
    assert len(special.languages) == 99


def test_there_are_a_hundred_languages() -> None:
    assert len(LANGUAGES) == 100
    assert (LANGUAGES["en"], LANGUAGES["yue"]) == ("english", "cantonese")


def test_text_survives_a_round_trip(tokenizer: WhisperTokenizer) -> None:
    text = " Grüße, 世界"
    assert tokenizer.decode([50_258, *tokenizer.encode_text(text), at(3), 50_257]) == text


def test_segments_lie_between_timestamps(tokenizer: WhisperTokenizer) -> None:
    one, two = tokenizer.encode_text(" one"), tokenizer.encode_text(" two")
    segments = segments_of([at(0.5), *one, at(2), at(2), *two, at(3.5)], tokenizer, 480_000)
    assert [(s.start, s.stop, s.text) for s in segments] == [
        (8_000, 32_000, " one"),
        (32_000, 56_000, " two"),
    ]
    assert segments[1].tokens == tuple(two)


def test_text_without_an_end_ends_with_the_window(tokenizer: WhisperTokenizer) -> None:
    segments = segments_of([at(1), *tokenizer.encode_text(" cut")], tokenizer, 400_000)
    assert [(s.start, s.stop) for s in segments] == [(16_000, 400_000)]


def test_text_without_any_timestamp_is_the_whole_window(tokenizer: WhisperTokenizer) -> None:
    segments = segments_of(tokenizer.encode_text(" plain"), tokenizer, 480_000)
    assert [(s.start, s.stop, s.text) for s in segments] == [(0, 480_000, " plain")]


def test_times_in_the_padding_are_clamped_to_the_end(tokenizer: WhisperTokenizer) -> None:
    segments = segments_of([at(0), *tokenizer.encode_text(" hi"), at(30)], tokenizer, 16_001)
    assert [(s.start, s.stop) for s in segments] == [(0, 16_001)]


def test_special_ids_among_the_generated_ids_are_ignored(tokenizer: WhisperTokenizer) -> None:
    one = tokenizer.encode_text(" one")
    (segment,) = segments_of([at(0), 50_283, *one, 50_258, at(4)], tokenizer, 480_000)
    assert (segment.text, segment.tokens) == (" one", tuple(one))


def test_the_unfinished_segment_at_the_token_limit_is_dropped(tokenizer: WhisperTokenizer) -> None:
    one, two = tokenizer.encode_text(" one"), tokenizer.encode_text(" two")
    (segment,) = segments_of([at(0), *one, at(2), at(2), *two], tokenizer, 480_000, complete=False)
    assert (segment.stop, segment.text) == (32_000, " one")
    assert not segment.is_cut
    (only,) = segments_of([at(0), *one], tokenizer, 480_000, complete=False)
    assert only.is_cut
    assert (only.stop, only.text) == (480_000, " one")
    closed = segments_of([at(0), *one, at(2), at(2), *two, at(3)], tokenizer, 480_000, complete=False)
    assert [s.text for s in closed] == [" one", " two"]


def test_segments_of_whitespace_are_dropped(tokenizer: WhisperTokenizer) -> None:
    assert segments_of([at(0), *tokenizer.encode_text("  "), at(4)], tokenizer, 480_000) == ()


@given(st.lists(st.integers(0, 1500), max_size=20), st.integers(1, 480_000), st.integers(0, 2**20))
def test_no_text_is_lost_and_times_stay_in_the_window(times: list[int], n_samples: int, words: int) -> None:
    # No fixture: hypothesis calls this many times, and the ids need no real text.
    class FakeTokenizer:
        special = SPECIAL

        @staticmethod
        def is_text(token: int) -> bool:
            return token < 500

        @staticmethod
        def decode(ids: list[int]) -> str:
            return "".join(f" {i}" for i in ids)

    ids, written = [], []
    for i, time in enumerate(sorted(times)):
        ids.append(1000 + time)
        if words >> i & 1:
            ids.append(i)
            written.append(i)
    segments = segments_of(ids, FakeTokenizer(), n_samples)  # type: ignore[arg-type]
    assert [t for s in segments for t in s.tokens] == written
    bounds = [t for s in segments for t in (s.start, s.stop)]
    assert bounds == sorted(bounds)
    assert all(0 <= t <= n_samples for t in bounds)


def test_compression_ratio_detects_repetition() -> None:
    assert compression_ratio("") == 0.0
    assert compression_ratio("thank you " * 30) > 2.4 > compression_ratio("A plain sentence, spoken once.")


def test_an_invalid_tokenizer_file_raises(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(TokenizerError, match=r"tokenizer\.json cannot be read"):
        WhisperTokenizer(tmp_path / "tokenizer.json")


def test_a_file_that_was_replaced_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    tiny_tokenizer().save(str(path))
    first = WhisperTokenizer(path)
    assert WhisperTokenizer(path)._tokenizer is first._tokenizer
    tiny_tokenizer(1000).save(str(path))
    assert WhisperTokenizer(path).special.end_of_text < first.special.end_of_text


def test_a_tokenizer_of_another_model_raises(tmp_path: Path) -> None:
    from tokenizers.models import BPE

    Tokenizer(BPE({"a": 0}, [])).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(TokenizerError, match="is not a Whisper tokenizer: it lacks"):
        WhisperTokenizer(tmp_path / "tokenizer.json")


def test_old_checkpoints_without_tokenizer_json(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text(json.dumps({"a": 0, "b": 1, "ab": 2, "<|endoftext|>": 3}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n")
    specials = ["startoftranscript", "en", "translate", "transcribe", "startoflm", "startofprev", "nospeech"]
    added = {f"<|{name}|>": 4 + i for i, name in enumerate([*specials, "notimestamps"])}
    last = max(added.values())
    added |= {f"<|{i * 0.02:.2f}|>": last + 1 + i for i in range(1501)}
    added |= {"[UH]": last + 1502, "[noise]": last + 1503}
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"additional_special_tokens": ["[noise]"]}))
    (tmp_path / "added_tokens.json").write_text(json.dumps(added))
    tokenizer = WhisperTokenizer(tmp_path)
    assert tokenizer.decode([2, 0, last + 1503, last + 1502]) == "aba[UH]"
    assert tokenizer.special.languages == {"en": added["<|en|>"]}


def with_tokens_behind() -> tuple[Tokenizer, int]:
    """The tiny tokenizer with tokens behind the timestamps, and the id of the first."""
    tokenizer = tiny_tokenizer()
    first = tokenizer.get_vocab_size(with_added_tokens=True)
    tokenizer.add_tokens(["[UH]", " ñandú"])
    tokenizer.add_special_tokens([AddedToken("<|noise|>", special=True)])
    return tokenizer, first


def test_added_tokens_are_text_unless_they_are_special(tmp_path: Path) -> None:
    added, first = with_tokens_behind()
    added.save(str(tmp_path / "tokenizer.json"))
    tokenizer = WhisperTokenizer(tmp_path / "tokenizer.json")
    one = tokenizer.encode_text(" one")
    assert first == BEGIN + 1501
    assert tokenizer.decode([*one, first, first + 2, first + 1]) == " one[UH] ñandú"
    segments = segments_of([at(0), *one, first, first + 2, at(2), first, at(3)], tokenizer, 480_000)
    assert [(s.start, s.stop, s.text, len(s.tokens)) for s in segments] == [
        (0, 32_000, " one[UH]", len(one) + 1),
        (32_000, 48_000, "[UH]", 1),
    ]
    assert tokenizer.encode_text("[UH]<|noise|><|0.00|>") == [first]


def test_broken_characters_are_those_of_openai(tokenizer: WhisperTokenizer) -> None:
    letters = {tokenizer.bytes_of(i): i for i in range(256)}
    for data in (
        b"a\xe7\xa7 b",
        b"\xe7",
        b"\xff\xfe\xe7\xa7\x81",
        b"\xf0\x9f\x98",
        b"\xed\xa0\x80!",
        b"\xc3\xa9",
    ):
        ids = [letters[bytes([byte])] for byte in data]
        assert tokenizer.decode(ids) == data.decode(errors="replace")
        (segment,) = segments_of([at(0), *ids, at(1)], tokenizer, 480_000)
        assert segment.text == data.decode(errors="replace")


def test_a_tokenizer_of_other_weights_is_refused(tmp_path: Path) -> None:
    tiny_tokenizer().save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(TokenizerError, match=r"tokenizer\.json: it does not fit the weights"):
        WhisperTokenizer(tmp_path / "tokenizer.json", DecodingConfig(), 51_864)


@pytest.mark.weights
def test_a_vocabulary_gives_the_tokenizer_that_its_tokenizer_json_gives(
    tmp_path: Path, packaged: Callable[[str], Checkpoint]
) -> None:
    path = packaged("openai/whisper-base").tokenizer
    content = json.loads(path.read_text("utf-8"))
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in content["model"]["merges"]]
    (tmp_path / "vocab.json").write_text(json.dumps(content["model"]["vocab"]))
    (tmp_path / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
    vocabulary = content["model"]["vocab"]
    added = {one["content"]: one["id"] for one in content["added_tokens"] if one["content"] not in vocabulary}
    (tmp_path / "added_tokens.json").write_text(json.dumps(added))
    expected, converted = WhisperTokenizer(path), WhisperTokenizer(tmp_path)
    assert converted.special == expected.special
    for text in (
        " Hello, world!",
        "naïve café",
        "日本語のテキスト。",
        " 12,345.67 €",
        "\u00ad\n\t x",
        "don't",
    ):
        ids = expected.encode_text(text)
        assert converted.encode_text(text) == ids
        assert converted.decode(ids) == expected.decode(ids) == text


def test_added_tokens_with_a_gap_in_their_ids_are_refused(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text(json.dumps({"a": 0, "b": 1, "ab": 2}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n")
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<|endoftext|>": 3, "<|en|>": 7}))
    with pytest.raises(TokenizerError, match="has the id 7"):
        WhisperTokenizer(tmp_path)
