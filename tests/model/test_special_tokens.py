"""Facts about the ids of a vocabulary, from its configs and its tokenizer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

import pytest
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE

from model.checkpoint import Checkpoint
from model.config import DecodingConfig
from model.special_tokens import N_TIMESTAMPS, SpecialTokens, TokenizerError, find_special
from model.tokens import WhisperTokenizer

TASKS = ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps")
GPT2 = ("t", "he", "\u0120t", "\u0120the", "\u0120th")
MULTILINGUAL = ("t", "he", "\u0120t", "\u0120th", "\u0120the")


def tokenizer_of(
    text: Sequence[str] = MULTILINGUAL,
    languages: Sequence[str] = ("en", "ru"),
    behind: Mapping[str, bool] | None = None,
    *,
    with_times: bool = True,
) -> Tokenizer:
    """A tokenizer of these tokens; `behind` the timestamps, each is special or not."""
    tokenizer = Tokenizer(BPE({name: i for i, name in enumerate(text)}, []))
    specials = ("endoftext", "startoftranscript", *languages, *TASKS)
    tokenizer.add_special_tokens([AddedToken(f"<|{name}|>", special=True) for name in specials])
    if with_times:
        tokenizer.add_tokens([f"<|{i * 0.02:.2f}|>" for i in range(N_TIMESTAMPS)])
    for name, special in (behind or {}).items():
        token = AddedToken(name, special=special)
        _ = tokenizer.add_special_tokens([token]) if special else tokenizer.add_tokens([token])
    return tokenizer


def find(tokenizer: Tokenizer, n_vocab: int | None = None, **told: object) -> SpecialTokens:
    return find_special(tokenizer, DecodingConfig(**told), n_vocab)  # type: ignore[arg-type]


def test_the_size_of_the_vocabulary_tells_nothing() -> None:
    special = find(tokenizer_of())
    assert special.is_multilingual
    assert special.languages == {"en": 7, "ru": 8}
    assert special.n_ids == special.timestamp_stop == special.timestamp_begin + 1501
    english = find(tokenizer_of(GPT2))
    assert not english.is_multilingual
    assert english.languages == {}


def test_the_config_precedes_the_tokenizer() -> None:
    assert not find(tokenizer_of(), is_multilingual=False).is_multilingual
    assert find(tokenizer_of(GPT2), is_multilingual=True).languages == {"en": 7, "ru": 8}
    only = find(tokenizer_of(), languages=(("ru", 8),))
    assert (only.is_multilingual, only.languages) == (True, {"ru": 8})
    renamed = find(tokenizer_of(), languages=(("xx", 8), ("en", 7)))
    assert list(renamed.languages.items()) == [("en", 7), ("xx", 8)]


def test_languages_given_by_id_alone_are_named_by_the_tokenizer() -> None:
    listed = (("", 8), ("", 5), ("", 10_000))  # also the end of text, and an id without a token
    assert find(tokenizer_of(), languages=listed).languages == {"ru": 8}
    assert not find(tokenizer_of(GPT2), languages=listed).is_multilingual  # as the converter has it


def test_a_tokenizer_without_languages_is_english_only() -> None:
    assert not find(tokenizer_of(languages=())).is_multilingual
    with pytest.raises(TokenizerError, match="the model is multilingual, but neither"):
        find(tokenizer_of(languages=()), is_multilingual=True)


def test_tokens_of_tasks_and_times_are_those_of_the_config(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = tokenizer_of()
    own = find(tokenizer)
    assert (own.translate, own.transcribe, own.no_timestamps) == (9, 10, 14)
    with caplog.at_level(logging.WARNING):
        told = find(tokenizer, task_ids=(("transcribe", 9), ("translate", 8)), no_timestamps_id=13)
    assert (told.translate, told.transcribe, told.no_timestamps) == (8, 9, 13)
    assert told.timestamp_begin == 14
    assert "generation_config.json has <|notimestamps|> at 13, the tokenizer at 14" in caplog.messages
    assert len(caplog.messages) == 3


def test_the_start_token_of_the_config(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = tokenizer_of()
    start = find(tokenizer).start_of_transcript
    assert find(tokenizer, start_id=start).start_of_transcript == start == 6
    with pytest.raises(TokenizerError, match=r"is 5, which the tokenizer has for '<\|endoftext\|>', and not"):
        find(tokenizer, start_id=5)
    assert caplog.messages == []
    n_ids = find(tokenizer).n_ids
    special = find(tokenizer, n_ids + 8, start_id=n_ids + 3)
    assert (special.start_of_transcript, special.n_ids) == (n_ids + 3, n_ids + 4)
    assert caplog.messages == [f"decoder_start_token_id is {n_ids + 3}, for which the tokenizer has no token"]
    with pytest.raises(TokenizerError, match=f"its highest id is {n_ids + 3}, and theirs is {n_ids + 2}"):
        find(tokenizer, n_ids + 3, start_id=n_ids + 3)


def test_times_end_at_30_s_and_tokens_behind_them_are_text_or_special() -> None:
    special = find(tokenizer_of(behind={"[UH]": False, "<|noise|>": True, "[UM]": False, "<|x|>": False}))
    stop = special.timestamp_stop
    assert special.is_timestamp(stop - 1)
    assert not special.is_timestamp(stop)
    assert special.added_text == (stop, stop + 2)
    assert (special.n_ids, special.n_behind) == (stop + 4, 4)


def test_more_rows_than_tokens_are_padding() -> None:
    tokenizer = tokenizer_of(behind={"[UH]": False})
    n_ids = find(tokenizer).n_ids
    assert find(tokenizer, n_ids + 63).n_ids == n_ids
    assert find(tokenizer, n_ids).unused == ()


def test_ids_without_a_token_are_never_written() -> None:
    text = {name: i for i, name in enumerate(MULTILINGUAL)}
    tokenizer = Tokenizer(BPE({**text, "apart": 40}, []))
    specials = ("endoftext", "startoftranscript", "en", *TASKS)
    tokenizer.add_special_tokens([AddedToken(f"<|{name}|>", special=True) for name in specials])
    special = find(tokenizer)
    used = {*text.values(), 40, *(tokenizer.token_to_id(f"<|{name}|>") for name in specials)}
    times = range(special.timestamp_begin, special.timestamp_stop)
    assert set(special.unused) == set(range(special.n_ids)) - used - set(times)


@pytest.mark.parametrize("with_times", [True, False])
def test_a_tokenizer_that_does_not_fit_the_weights_is_refused(with_times: bool) -> None:
    tokenizer = tokenizer_of(with_times=with_times)
    n_ids = find(tokenizer).n_ids
    assert find(tokenizer, n_ids).n_ids == n_ids
    with pytest.raises(TokenizerError, match=rf"its highest id is {n_ids - 1}, and theirs is {n_ids - 2}"):
        find(tokenizer, n_ids - 1)
    with pytest.raises(TokenizerError, match="its highest id is 9999"):
        find(tokenizer, n_ids, languages=(("en", 9999),))


@pytest.mark.weights
@pytest.mark.parametrize(("name", "n_languages"), [("base", 99), ("tiny.en", 0)])
def test_the_real_tokenizers(packaged: Callable[[str], Checkpoint], name: str, n_languages: int) -> None:
    checkpoint = packaged(f"openai/whisper-{name}")
    for decoding in (checkpoint.decoding, DecodingConfig()):
        special = WhisperTokenizer(checkpoint.tokenizer, decoding, checkpoint.config.n_vocab).special
        assert len(special.languages) == n_languages
        assert special.n_ids == checkpoint.config.n_vocab
        assert (special.unused, special.added_text) == ((), ())
