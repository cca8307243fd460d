"""Makes `tests/model/layout_ids.json`: the ids that transformers writes with the checkpoints of `layouts.py`.

    python -m tests.support.layout_ids tests/model/layout_ids.json

It needs torch and transformers, which are in no requirement of this project, besides numpy, safetensors and
tokenizers. It was run with the versions that the file names.

What is asked of `generate` besides its defaults: one call for a window; that special tokens are never
written, as with openai/whisper, nor times where there are none, nor ids without a token; and, for layouts
with tokens behind the timestamps, that times end at 30.00 s, as transformers takes all ids behind for times.
"""

from __future__ import annotations

import json
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import GenerationConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration
from transformers.generation.logits_process import WhisperTimeStampLogitsProcessor
from transformers.models.whisper import generation_whisper

from tests.support.layouts import LAYOUTS, MAX_NEW_TOKENS, N_TIMESTAMPS, Layout, save_layout, windows


class BoundedTimes(WhisperTimeStampLogitsProcessor):
    """The rules for times, with ids behind 30.00 s moved before the first time for them, and back."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Returns the scores of what may be written next."""
        begin, stop = self.timestamp_begin, self.timestamp_begin + N_TIMESTAMPS
        n_behind = scores.shape[-1] - stop
        moved = torch.cat([scores[:, :begin], scores[:, stop:], scores[:, begin:stop]], dim=-1)
        ids = torch.where(input_ids >= stop, input_ids - N_TIMESTAMPS, input_ids)
        ids = torch.where((input_ids >= begin) & (input_ids < stop), input_ids + n_behind, ids)
        self.timestamp_begin = begin + n_behind
        unpaired = self._is_unpaired(ids)
        processed = super().__call__(ids, moved)
        self.timestamp_begin = begin
        processed[unpaired, begin : begin + n_behind] = torch.where(
            torch.tensor(self.is_text), -float("inf"), processed[unpaired, begin : begin + n_behind]
        )
        return torch.cat(
            [processed[:, :begin], processed[:, begin + n_behind :], processed[:, begin : begin + n_behind]],
            dim=-1,
        )

    def _is_unpaired(self, ids: torch.Tensor) -> torch.Tensor:
        """Whether the last token is a time and the one before is none: text must not follow."""
        written = ids[:, self.begin_index :]
        if written.shape[1] < 2:
            return torch.zeros(len(ids), dtype=torch.bool)
        return (written[:, -1] >= self.timestamp_begin) & (written[:, -2] < self.timestamp_begin)


@cache
def features_of(n_mels: int) -> torch.Tensor:
    """Returns the log-mel spectrograms of the windows."""
    extract = WhisperFeatureExtractor(feature_size=n_mels)
    features: torch.Tensor = extract(windows(), sampling_rate=16_000, return_tensors="pt").input_features
    return features


def ids_of(layout: Layout, folder: Path, *, timestamps: bool) -> dict[str, Any]:
    """Returns the ids that are written for each window, and the tokens before them."""
    model = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    model.generation_config = GenerationConfig(**layout.generation_json())
    generation = model.generation_config
    never = {*(layout.generation_json().get("suppress_tokens") or ()), *layout.never(), *layout.padding()}
    never.add(layout.id_of("notimestamps"))
    if not timestamps:
        never |= set(range(layout.timestamp_begin, layout.timestamp_begin + N_TIMESTAMPS))
    named = generation.to_dict()
    needs_task = not layout.english_only and not (named.get("task") or named.get("forced_decoder_ids"))
    special = [*layout.behind.values(), *([False] * layout.n_padding)]
    BoundedTimes.is_text = [not is_special for is_special in special]
    rules = BoundedTimes if special else WhisperTimeStampLogitsProcessor
    generation_whisper.WhisperTimeStampLogitsProcessor = rules
    written = model.generate(
        features_of(layout.n_mels),
        return_timestamps=timestamps,
        suppress_tokens=sorted(never),
        max_new_tokens=MAX_NEW_TOKENS,
        force_unique_generate_call=True,
        return_dict_in_generate=True,
        **({"task": "transcribe"} if needs_task else {}),
    ).sequences.tolist()
    n_prefix = 1 + 2 * (not layout.english_only) + (not timestamps)
    end = layout.id_of("endoftext")
    texts = [row[n_prefix:] for row in written]
    ids = [text[: text.index(end)] if end in text else text for text in texts]
    return {"prefix": [row[:n_prefix] for row in written], "ids": ids}


def main(path: Path) -> None:
    """Writes the file."""
    found: dict[str, Any] = {"transformers": transformers.__version__, "torch": torch.__version__}
    for name, layout in LAYOUTS.items():
        with tempfile.TemporaryDirectory() as folder, torch.no_grad():
            save_layout(layout, Path(folder))
            kinds = {"timestamps": True, "plain": False}
            found[name] = {kind: ids_of(layout, Path(folder), timestamps=on) for kind, on in kinds.items()}
        lengths = {kind: sum(map(len, one["ids"])) / len(one["ids"]) for kind, one in found[name].items()}
        print(name, {kind: round(mean, 1) for kind, mean in lengths.items()}, flush=True)
    lines = [json.dumps({name: value}, separators=(",", ":"))[1:-1] for name, value in found.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
