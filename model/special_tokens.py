"""The special tokens of a Whisper vocabulary: their ids, and what the other ids stand for. No JAX.

They are read from the checkpoint's `generation_config.json` where it names them, else from the tokenizer, and
never guessed from the size of the vocabulary: fine-tuning prunes vocabularies, adds tokens, and pads.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from tokenizers import Tokenizer

from model.config import DecodingConfig
from model.interface import SAMPLE_RATE, TRANSCRIBE, TRANSLATE, WINDOW_SAMPLES
from model.languages import LANGUAGES

SAMPLES_PER_TIMESTAMP = SAMPLE_RATE // 50  # 320 samples: a timestamp token counts steps of 20 ms
N_TIMESTAMPS = WINDOW_SAMPLES // SAMPLES_PER_TIMESTAMP + 1  # 0.00 to 30.00 s

_LOGGER = logging.getLogger(__name__)
_LANGUAGE = re.compile(r"<\|([a-z]{2,4})\|>")


class TokenizerError(ValueError):
    """The tokenizer is not one of Whisper, does not fit the weights, or cannot be read."""


@dataclass(frozen=True)
class SpecialTokens:
    """Ids of the special tokens.

    Attributes:
        languages: codes and ids, in the order of the ids.
        timestamp_begin: the timestamp 0.00 s; each of the next 1,500 ids is 20 ms later, up to 30.00 s.
        is_multilingual: whether a language and a task follow the start of the transcript (not `*.en`).
        n_ids: one past the highest id that has a token; 0 for the last timestamp.
        added_text: ids above `end_of_text` that are text: tokens that fine-tuning has added.
        unused: ids below `n_ids` without a token.
    """

    start_of_transcript: int
    end_of_text: int
    transcribe: int
    translate: int
    start_of_previous: int
    start_of_lm: int
    no_speech: int
    no_timestamps: int
    timestamp_begin: int
    languages: Mapping[str, int]
    is_multilingual: bool = True
    n_ids: int = 0
    added_text: tuple[int, ...] = ()
    unused: tuple[int, ...] = ()

    @property
    def timestamp_stop(self) -> int:
        """One past the id of the last timestamp, 30.00 s."""
        return self.timestamp_begin + N_TIMESTAMPS

    @property
    def n_behind(self) -> int:
        """The number of ids behind the timestamps that may be written."""
        return max(0, self.n_ids - self.timestamp_stop)

    def is_timestamp(self, token: int) -> bool:
        """Whether an id is a time."""
        return self.timestamp_begin <= token < self.timestamp_stop


def find_special(tokenizer: Tokenizer, decoding: DecodingConfig, n_vocab: int | None) -> SpecialTokens:
    """Returns the special tokens of a checkpoint.

    Args:
        tokenizer: its tokenizer.
        decoding: what its configs tell.
        n_vocab: rows of its embedding, which may be more than there are tokens; None if they are not known.

    Raises:
        TokenizerError: it lacks one of Whisper's tokens, or has ids that the weights lack.
    """

    def find(*names: str) -> int:
        for name in names:
            token = tokenizer.token_to_id(f"<|{name}|>")
            if token is not None:
                return int(token)
        raise TokenizerError(f"it is not a Whisper tokenizer: it lacks <|{names[0]}|>")

    def configured(name: str, token: int | None) -> int:
        if token is None:
            return find(name)
        if tokenizer.token_to_id(f"<|{name}|>") not in (token, None):
            _LOGGER.warning(
                "generation_config.json has <|%s|> at %d, the tokenizer at %d", name, token, find(name)
            )
        return token

    tasks = dict(decoding.task_ids)
    no_timestamps = configured("notimestamps", decoding.no_timestamps_id)
    languages = _languages(tokenizer, decoding)
    special = SpecialTokens(
        start_of_transcript=_start(tokenizer, decoding.start_id, find),
        end_of_text=find("endoftext"),
        transcribe=configured(TRANSCRIBE, tasks.get(TRANSCRIBE)),
        translate=configured(TRANSLATE, tasks.get(TRANSLATE)),
        start_of_previous=find("startofprev"),
        start_of_lm=find("startoflm"),
        no_speech=find("nospeech", "nocaptions"),
        no_timestamps=no_timestamps,
        timestamp_begin=no_timestamps + 1,
        languages=languages,
        is_multilingual=bool(languages),
    )
    return _with_ids(special, tokenizer, n_vocab)


def _start(tokenizer: Tokenizer, configured: int | None, find: Callable[[str], int]) -> int:
    """Returns the id of the token that starts the transcript.

    Raises:
        TokenizerError: the configs name an id which the tokenizer has for something else.
    """
    if configured is None:
        return find("startoftranscript")
    name = tokenizer.id_to_token(configured)
    if name == "<|startoftranscript|>":
        return configured
    if name is not None:
        raise TokenizerError(
            f"decoder_start_token_id of the configs is {configured}, which the tokenizer has for "
            f"{name!r:.100}, and not for <|startoftranscript|>: correct generation_config.json"
        )
    _LOGGER.warning("decoder_start_token_id is %d, for which the tokenizer has no token", configured)
    return configured


def _languages(tokenizer: Tokenizer, decoding: DecodingConfig) -> dict[str, int]:
    """Returns codes and ids of the languages, in the order of the ids; none for an English-only model.

    Raises:
        TokenizerError: the configs call the model multilingual, and nothing names its languages.
    """
    if decoding.is_multilingual is False:
        return {}
    named = decoding.is_multilingual or any(code for code, _ in decoding.languages)
    if not named and _is_english_only(tokenizer):
        return {}
    found = {}
    for code, token in decoding.languages:
        name = _LANGUAGE.fullmatch(tokenizer.id_to_token(token) or "")
        if code:
            found[code] = token
        elif name:
            found[name[1]] = token
    if not found:
        ids = {code: tokenizer.token_to_id(f"<|{code}|>") for code in LANGUAGES}
        found = {code: int(token) for code, token in ids.items() if token is not None}
    if decoding.is_multilingual and not found:
        raise TokenizerError(
            "the model is multilingual, but neither its configs nor its tokenizer name languages"
        )
    return dict(sorted(found.items(), key=lambda item: item[1]))


def _is_english_only(tokenizer: Tokenizer) -> bool:
    """Whether a tokenizer is that of GPT-2, which English-only models have; it has tokens of languages, too.

    Its merges make " the" of " t" and "he", before there is " th"; those of the multilingual models make it
    of " th". Pruning and adding tokens leave this order of the ids as it is.
    """
    the, th = tokenizer.token_to_id("\u0120the"), tokenizer.token_to_id("\u0120th")
    return the is not None and th is not None and the < th


def is_special_name(name: str) -> bool:
    """Whether a token is none of text by its name, however the tokenizer's file declares it."""
    return name.startswith("<|") and name.endswith("|>")


def _with_ids(special: SpecialTokens, tokenizer: Tokenizer, n_vocab: int | None) -> SpecialTokens:
    """Adds what the ids besides the special ones stand for."""
    added = tokenizer.get_added_tokens_decoder()
    highest, unused = _used_ids(tokenizer)
    known = (
        *(special.start_of_transcript, special.transcribe, special.translate),
        *special.languages.values(),
    )
    n_ids = max(highest + 1, special.timestamp_stop, *(token + 1 for token in known))
    if n_vocab is not None and n_ids > n_vocab:
        raise TokenizerError(
            f"it does not fit the weights: its highest id is {n_ids - 1}, and theirs is {n_vocab - 1}; it is "
            "the tokenizer of another model"
        )
    text = []
    for token in range(special.end_of_text + 1, highest + 1):
        name = tokenizer.id_to_token(token)
        is_text = name is not None and not is_special_name(name)
        if is_text and not special.is_timestamp(token) and not (token in added and added[token].special):
            text.append(token)
    return replace(
        special,
        n_ids=n_ids,
        added_text=tuple(text),
        unused=tuple(token for token in unused if not special.is_timestamp(token)),
    )


@lru_cache(maxsize=4)
def _used_ids(tokenizer: Tokenizer) -> tuple[int, tuple[int, ...]]:
    """Returns the highest id of a tokenizer, and the ids below it that have no token.

    A process asks several times for that of its model, which is the same object (`model.tokens`).
    """
    n = tokenizer.get_vocab_size(with_added_tokens=True)
    if all(tokenizer.id_to_token(token) is not None for token in range(n)):  # much faster than to ask for all
        return n - 1, ()
    used = set(tokenizer.get_vocab(with_added_tokens=True).values())
    highest = max(used, default=-1)
    return highest, tuple(sorted(set(range(highest)) - used))
