"""Comparison of the model with independent implementations on the same weights: features, encoder, ids.

    python -m benchmarks.parity --audio ../shared/data samples

The log-mel is compared with transformers; the encoder's output and the greedy ids for the same prompt are
compared with CTranslate2 in float32. Both are given 30 s of each window. Clips whose ids differ are printed
with the score of each text in its system: scores within 1e-3 per token explain a difference.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import ctranslate2
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from transformers import WhisperFeatureExtractor

from benchmarks.rivals.ctranslate2_folder import ctranslate2_folder
from benchmarks.support.clips import read_clip
from model.checkpoint import Checkpoint, find_checkpoint
from model.interface import WINDOW_SAMPLES, ModelOptions, Request, WindowResult
from model.log_mel import log_mel
from model.transcriber import WhisperTranscriber, load_transcriber

_SUFFIXES = (".flac", ".wav", ".mp3")
_BATCH_SIZE = 8


def main() -> None:
    """Prints a table in Markdown for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--audio", nargs="+", type=Path, required=True, help="folders of clips")
    parser.add_argument("--models", nargs="+", default=["openai/whisper-base", "openai/whisper-tiny.en"])
    parser.add_argument("--limit", type=int, default=10_000, help="maximum number of clips")
    args = parser.parse_args()
    files = sorted(path for folder in args.audio for path in folder.rglob("*") if path.suffix in _SUFFIXES)
    clips = {str(path): read_clip(path)[:WINDOW_SAMPLES] for path in files[: args.limit]}
    print("| what | clips | result |\n|---|---|---|")
    for n_mels in (80, 128):
        print(
            f"| log-mel, {n_mels} bins, max abs difference | {len(clips)} | {_mel_error(clips, n_mels):.1e} |"
        )
    for model in args.models:
        compare(model, clips)


def compare(model: str, clips: dict[str, NDArray[np.float32]]) -> None:
    """Prints the differences between a model and CTranslate2 on these clips."""
    checkpoint = find_checkpoint(model)
    ours = load_transcriber(ModelOptions(model=model, dtype="float32", batch_size=_BATCH_SIZE, beam_size=1))
    language = None if ours.tokenizer.special.is_multilingual else "en"
    worst, differing = 0.0, []
    with ctranslate2_folder(checkpoint) as folder:
        theirs = ctranslate2.models.Whisper(str(folder), device="cpu", compute_type="float32")
        for names in _batches(list(clips)):
            samples = [clips[name] for name in names]
            results = ours.transcribe([Request(clip, language, full_window=True) for clip in samples])
            encoded = ours.encode(samples)
            for name, clip, result, states in zip(names, samples, results, encoded, strict=True):
                reference = Reference(theirs, checkpoint, ours, clip, result.language)
                error = np.linalg.norm(states - reference.encoded) / np.linalg.norm(reference.encoded)
                worst = max(worst, float(error))
                if reference.ids != text_ids(result):
                    differing.append((name, result, reference))
    print(f"| {model}: encoder, largest relative error | {len(clips)} | {worst:.1e} |")
    print(f"| {model}: clips whose ids differ | {len(clips)} | {len(differing)} |")
    for name, result, reference in differing:
        print(f"<!-- {name}: ours {result.avg_logprob:.4f} {text_ids(result)}")
        print(f"     theirs {reference.avg_logprob:.4f} {reference.ids} -->")


class Reference:
    """CTranslate2's results for one window."""

    def __init__(
        self,
        model: ctranslate2.models.Whisper,
        checkpoint: Checkpoint,
        ours: WhisperTranscriber,
        clip: NDArray[np.float32],
        language: str,
    ) -> None:
        special = ours.tokenizer.special
        prompt = [special.start_of_transcript]
        if special.is_multilingual:
            prompt += [special.languages[language], special.transcribe]
        features = ctranslate2.StorageView.from_array(mel_of(clip, checkpoint.config.n_mels))
        encoded = model.encode(features)
        (result,) = model.generate(
            encoded,
            [prompt],
            beam_size=1,
            max_length=448,
            return_scores=True,
            return_no_speech_prob=True,
            max_initial_timestamp_index=50,
        )
        self.encoded = np.array(encoded)[0]
        ids = result.sequences_ids[0]
        self.ids = [i for i in ids if i < special.end_of_text]
        self.avg_logprob = result.scores[0] * len(ids) / (len(ids) + 1)
        self.no_speech_prob = result.no_speech_prob


def text_ids(result: WindowResult) -> list[int]:
    """Returns the ids of a window's text, without timestamps."""
    return [token for segment in result.segments for token in segment.tokens]


def mel_of(clip: NDArray[np.float32], n_mels: int) -> NDArray[np.float32]:
    """Returns whisper-beam's features of one clip, float32[1, n_mels, 3000]."""
    padded = np.zeros((1, WINDOW_SAMPLES), np.float32)
    padded[0, : len(clip)] = clip
    return np.array(log_mel(jnp.asarray(padded), n_mels))


def _mel_error(clips: dict[str, NDArray[np.float32]], n_mels: int) -> float:
    extractor = WhisperFeatureExtractor(feature_size=n_mels)
    worst = 0.0
    for clip in clips.values():
        expected = extractor(clip, sampling_rate=16_000, return_tensors="np").input_features
        worst = max(worst, float(np.abs(mel_of(clip, n_mels) - expected).max()))
    return worst


def _batches(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), _BATCH_SIZE):
        yield names[start : start + _BATCH_SIZE]


if __name__ == "__main__":
    main()
