"""Program that transcribes files with openai/whisper, for `benchmarks.rivals.openai_whisper`; needs torch.

    python openai_whisper_program.py WEIGHTS.safetensors RECORDING.wav ...

It uses the defaults of `transcribe`: greedy, temperature fallback, conditioning on earlier text. Prints the
transcripts as JSON. Recordings are mono at 16 kHz.
"""

from __future__ import annotations

import json
import sys

import soundfile as sf
import torch  # type: ignore[import-not-found]  # in no environment of ours
import whisper  # type: ignore[import-not-found]
from safetensors import safe_open
from safetensors.torch import load_file
from whisper.model import ModelDimensions  # type: ignore[import-not-found]


def main() -> None:
    """Prints `{"rows": [...], "n_windows": ...}`."""
    weights, *paths = sys.argv[1:]
    with safe_open(weights, framework="pt") as file:
        dimensions = ModelDimensions(**json.loads(file.metadata()["dimensions"]))
    model = whisper.model.Whisper(dimensions)
    model.load_state_dict(load_file(weights))
    n_windows, decode = 0, model.decode

    def counted(mel: torch.Tensor, options: whisper.DecodingOptions) -> whisper.DecodingResult:
        nonlocal n_windows
        n_windows += options.temperature == 0  # each window is decoded at temperature 0 once
        return decode(mel, options)

    model.decode = counted
    rows = []
    for path in paths:
        result = model.transcribe(sf.read(path, dtype="float32")[0], fp16=False)
        rows.append({"uri": path, "text": result["text"].strip(), "language": result["language"]})
    print(json.dumps({"rows": rows, "n_windows": n_windows}))


if __name__ == "__main__":
    main()
