"""Program that decodes windows with openai/whisper, for `benchmarks.rivals.openai_whisper`; needs torch.

    python openai_decode_program.py WEIGHTS.safetensors MODEL CLIPS.npz SETTINGS.json

MODEL is openai/whisper's name of the weights, whose alignment heads are taken. Each clip, float32[n] at
16 kHz, is one window, padded with silence to 30 s. Prints a line for each setting: a JSON list of results, in
the order of the clips.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch  # type: ignore[import-not-found]  # in no environment of ours
import whisper  # type: ignore[import-not-found]
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file
from whisper.model import ModelDimensions  # type: ignore[import-not-found]
from whisper.timing import add_word_timestamps  # type: ignore[import-not-found]
from whisper.tokenizer import get_tokenizer  # type: ignore[import-not-found]

_BATCH_SIZE = 8


def main() -> None:
    """Prints the results."""
    weights, name, clips_file, settings_file = sys.argv[1:]
    torch.set_num_threads(1)  # where other programs run, threads that wait for each other are 8 times slower
    with safe_open(weights, framework="pt") as file:
        dimensions = ModelDimensions(**json.loads(file.metadata()["dimensions"]))
    model = whisper.model.Whisper(dimensions)
    model.load_state_dict(load_file(weights))
    model.set_alignment_heads(whisper._ALIGNMENT_HEADS[name])
    with np.load(clips_file) as clips:
        windows = [Window(model, clips[key]) for key in clips.files]
    for setting in json.loads(Path(settings_file).read_text()):
        print(json.dumps(decode(model, windows, setting)), flush=True)


class Window:
    """A clip and its encoding, which `decode` takes in place of the log-mel."""

    def __init__(self, model: whisper.Whisper, samples: NDArray[np.float32]) -> None:
        self._model, self._n_samples = model, len(samples)
        padded = torch.from_numpy(whisper.pad_or_trim(samples))
        self._mel = whisper.log_mel_spectrogram(padded, model.dims.n_mels)
        with torch.no_grad():
            self.encoded = model.embed_audio(self._mel[None])[0]

    def words(self, result: whisper.DecodingResult) -> list[dict[str, Any]]:
        """Returns the words of a text, with their times."""
        tokenizer = get_tokenizer(
            self._model.is_multilingual,
            num_languages=self._model.num_languages,
            language=result.language,
            task="transcribe",
        )
        segments = _segments(result.tokens, tokenizer.timestamp_begin, self._n_samples / 16_000)
        add_word_timestamps(
            segments=segments,
            model=self._model,
            tokenizer=tokenizer,
            mel=self._mel,
            num_frames=self._n_samples // whisper.audio.HOP_LENGTH,
            last_speech_timestamp=0.0,
        )
        return [word for segment in segments for word in segment.get("words", [])]


def decode(
    model: whisper.Whisper, windows: Sequence[Window], setting: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Returns ids and scores of each window, and its words if `words` is set.

    Args:
        model: the model.
        windows: the windows.
        setting: fields of `whisper.DecodingOptions`, and `words`.
    """
    fields = {key: value for key, value in setting.items() if key != "words"}
    options = whisper.DecodingOptions(fp16=False, **fields)
    n = 1 if options.beam_size else _BATCH_SIZE  # its beam search fails with more
    results = []
    for first in range(0, len(windows), n):
        encoded = torch.stack([window.encoded for window in windows[first : first + n]])
        results += whisper.decode(model, encoded, options)
    return [
        {
            "ids": result.tokens,
            "language": result.language,
            "avg_logprob": result.avg_logprob,
            "no_speech_prob": result.no_speech_prob,
            "words": window.words(result) if setting["words"] else [],
        }
        for window, result in zip(windows, results, strict=True)
    ]


def _segments(ids: Sequence[int], timestamp_begin: int, duration_s: float) -> list[dict[str, Any]]:
    """Returns the segments of one window as `whisper/transcribe.py` makes them of its ids."""
    segments, start_s = [], 0.0
    runs = [(is_time, list(run)) for is_time, run in groupby(ids, lambda i: i >= timestamp_begin)]
    for number, (is_time, run) in enumerate(runs):
        if is_time:
            start_s = (run[-1] - timestamp_begin) * 0.02
            continue
        following = runs[number + 1][1][0] if number + 1 < len(runs) else None
        end_s = duration_s if following is None else (following - timestamp_begin) * 0.02
        segments.append({"seek": 0, "start": start_s, "end": end_s, "tokens": run})
    return segments


if __name__ == "__main__":
    main()
