"""The language and the task that a checkpoint is configured for, which apply where the user names none."""

from __future__ import annotations

import logging

from model.config import CheckpointDefaults, DecodingConfig
from model.interface import TASKS, TRANSCRIBE, TRANSLATE, code_among
from model.special_tokens import SpecialTokens

_LOGGER = logging.getLogger(__name__)


def defaults_of(special: SpecialTokens, decoding: DecodingConfig) -> CheckpointDefaults:
    """Returns what the configs name.

    As with transformers, `forced_decoder_ids` count where neither language nor task is named. What the model
    does not have is ignored, with a warning. English-only models have no choice.

    Args:
        special: special tokens of the checkpoint.
        decoding: what its configs tell.
    """
    if not special.is_multilingual:
        return CheckpointDefaults()
    if decoding.language is None and decoding.task is None:
        return _forced(special, decoding)
    language, task = decoding.language, decoding.task
    code = None if language is None else code_among(language.strip("<|>"), special.languages)
    if language is not None and code is None:
        _LOGGER.warning("the checkpoint is configured for the language %r, which it does not have", language)
    if task is not None and task not in TASKS:
        _LOGGER.warning("the checkpoint is configured for the task %r, which no Whisper has", task)
        task = None
    return CheckpointDefaults(code, task)


def _forced(special: SpecialTokens, decoding: DecodingConfig) -> CheckpointDefaults:
    languages = {token: code for code, token in special.languages.items()}
    tasks = {special.transcribe: TRANSCRIBE, special.translate: TRANSLATE}
    language = task = None
    for token in decoding.forced_ids:
        if token in languages:
            language = languages[token]
        elif token in tasks:
            task = tasks[token]
        elif token not in (None, special.no_timestamps):  # times are written or not by an option
            _LOGGER.warning("forced_decoder_ids has the token %d, which is not followed", token)
    return CheckpointDefaults(language, task)
