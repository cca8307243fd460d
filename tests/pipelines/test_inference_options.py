from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from pipelines.inference_options import changed_options, first_options, max_windows
from pipelines.option_checks import OptionsError
from pipelines.options import RecordingOptions

DEFAULTS = RecordingOptions()


def test_options_are_those_of_the_pipeline() -> None:
    assert first_options("base", {}) == RecordingOptions(model="openai/whisper-base")
    given = {"beam_size": 2, "language": "fr", "temperature": [0, 0.5], "vad": False, "chunk_length_s": 20}
    assert first_options("m", given) == RecordingOptions(model="m", **given)  # type: ignore[arg-type]
    assert first_options(Path("/models/mine"), {}).model == "/models/mine"


@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.dtype(jnp.bfloat16), "bfloat16"])
def test_a_dtype_may_be_a_type(dtype: object) -> None:
    assert first_options("m", {"dtype": dtype, "quantization": "a8"}).dtype == "bfloat16"
    assert first_options("m", {"dtype": np.float32}).dtype == "float32"


@pytest.mark.parametrize(
    ("given", "changed"),
    [
        ({}, {}),
        ({"return_timestamps": "word"}, {"word_timestamps": True}),
        ({"return_timestamps": False}, {"return_timestamps": False}),
        ({"return_timestamps": True, "word_timestamps": True}, {"word_timestamps": True}),
        ({"language": None}, {"language": "auto"}),
        ({"language": "French", "task": "translate"}, {"language": "French", "task": "translate"}),
        ({"channels": 1}, {"channels": "1"}),
        ({"audio_stream": 1}, {"audio_stream": "1"}),
        ({"clip_timestamps": "0,12.5,60"}, {"clip_timestamps": (0.0, 12.5, 60.0)}),
        ({"clip_timestamps": [0, 12.5]}, {"clip_timestamps": (0, 12.5)}),
        ({"clip_timestamps": ""}, {}),
        ({"temperature": 0.5}, {"temperature": (0.5,)}),
        ({"stride_length_s": 4}, {"stride_length_s": 4.0}),
        ({"chunk_length_s": np.float32(20)}, {"chunk_length_s": 20.0}),
        ({"languages": ["en", "German"]}, {"languages": ("en", "German"), "language": "auto"}),
        ({"seed": np.int64(3), "initial_prompt": "Dear sir"}, {"seed": 3, "initial_prompt": "Dear sir"}),
        ({"initial_prompt": None, "hotwords": None}, {}),
    ],
)
def test_options_of_a_call_replace_the_defaults(given: dict[str, Any], changed: dict[str, Any]) -> None:
    assert changed_options(DEFAULTS, given) == replace(DEFAULTS, **changed)


def test_languages_of_a_call_replace_the_language_of_all_calls() -> None:
    french = first_options("m", {"language": "fr"})
    changed = changed_options(french, {"languages": ["en", "de"]})
    assert (changed.language, changed.languages) == ("auto", ("en", "de"))


def test_timestamps_of_a_call_replace_those_of_all_calls() -> None:
    words = first_options("m", {"return_timestamps": "word"})
    assert words.word_timestamps
    assert changed_options(words, {}).word_timestamps
    assert not changed_options(words, {"return_timestamps": True}).word_timestamps
    none = changed_options(words, {"return_timestamps": False})
    assert (none.return_timestamps, none.word_timestamps) == (False, False)
    without = first_options("m", {"return_timestamps": False})
    again = changed_options(without, {"return_timestamps": "word"})
    assert (again.return_timestamps, again.word_timestamps) == (True, True)


def test_a_language_replaces_the_languages_of_all_calls() -> None:
    two = first_options("m", {"languages": ("en", "de")})
    assert changed_options(two, {"language": "fr"}).languages == ()
    assert changed_options(two, {"language": "auto"}).languages == ("en", "de")
    assert changed_options(two, {"languages": "fr"}).languages == ("fr",)
    with pytest.raises(OptionsError, match="languages en: cannot be combined with --language fr"):
        changed_options(two, {"language": "fr", "languages": ("en",)})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"langauge": "fr"}, r"langauge: no such option \(did you mean language\?\)"),
        ({"output": "folder"}, "output: no such option"),
        ({"language": "xx"}, "language xx: no such language"),
        ({"language": 5}, "language 5: give a text"),
        ({"language": "fr,de"}, "no such language"),
        ({"languages": ("en", "auto")}, "languages auto: give codes or English names"),
        ({"task": "summarise"}, "task summarise: not one of transcribe, translate"),
        ({"return_timestamps": "words"}, "return_timestamps 'words': give True, False or 'word'"),
        ({"return_timestamps": 1}, "return_timestamps 1: give True or False"),
        ({"return_timestamps": None}, "return_timestamps None: give True or False"),
        ({"vad": "no"}, "vad 'no': give True or False"),
        ({"chunk_length_s": "30"}, "chunk_length_s '30': give a number"),
        ({"chunk_length_s": 31}, "chunk_length_s 31: must be between"),
        ({"chunk_length_s": float("nan")}, "chunk_length_s nan"),
        ({"chunk_length_s": True}, "chunk_length_s True: give a number"),
        ({"stride_length_s": (4, 2)}, r"stride_length_s \(4, 2\): give a number"),
        ({"temperature": ("0", "1")}, r"temperature \('0', '1'\): give a number, or several in a list"),
        ({"clip_timestamps": "5,x"}, "clip_timestamps '5,x': 'x' is no number of seconds"),
        ({"clip_timestamps": "5,3"}, "clip_timestamps '5,3': the clip from 5 s ends at 3 s"),
        ({"clip_timestamps": [5, 3]}, "clip_timestamps 5,3: the clip from 5 s ends at 3 s"),
        ({"clip_timestamps": [{"start": 0}]}, "clip_timestamps .*: give a number, or several in a list"),
        ({"temperature": ()}, "temperature: give at least one"),
        ({"seed": 1.5}, "seed 1.5: give a whole number"),
        ({"initial_prompt": b"a"}, "initial_prompt b'a': give a text or None"),
        ({"channels": "split"}, "channels 'split': a call transcribes one recording"),
        ({"audio_stream": "all"}, "audio_stream 'all': a call transcribes one recording"),
        ({"channels": "rihgt"}, r"did you mean right\?"),
        ({"channels": -1}, "channels -1"),
        ({"model": "tiny"}, r"model: is an option of the model, which is loaded: give it to Inference"),
        ({"beam_size": 1}, "beam_size: is an option of the model"),
        ({"dtype": jnp.bfloat16}, "dtype: is an option of the model"),
        ({"max_new_tokens": 9}, "max_new_tokens: is an option of the model"),
    ],
)
def test_wrong_options_of_a_call_are_refused_with_advice(given: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionsError, match=message):
        changed_options(DEFAULTS, given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"dtype": np.float64}, "dtype float64: not one of auto, float32, bfloat16, float16"),
        ({"dtype": None}, "dtype None: give a text"),
        ({"dtype": object()}, "dtype"),
        ({"beam_size": "5"}, "beam_size '5': give a whole number"),
        ({"length_penalty": "1"}, "length_penalty '1': give a number or None"),
        ({"device": "cuda"}, "device: no such option"),
    ],
)
def test_wrong_options_of_a_model_are_refused_with_advice(given: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionsError, match=message):
        first_options("m", given)


def test_the_windows_of_a_batch_are_limited() -> None:
    assert max_windows(None) is None
    assert max_windows(8) == max_windows(np.int32(8)) == 8
    for wrong in (0, -1, 1.5, "8", True):
        with pytest.raises(OptionsError, match=f"batch_size {wrong!r}: give a whole number of at least 1"):
            max_windows(wrong)
