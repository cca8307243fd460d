"""Program that transcribes a recording with Hugging Face's chunked pipeline, for `benchmarks.speed`.

    python huggingface_program.py MODEL RECORDING --dtype bfloat16 --batch_size 8

It needs torch. It decodes greedily, in English, without timestamps, in chunks of 30 s that overlap by 5 s on
each side (the default). Prints rows and times as JSON: `load_s` from the start of the program until the model
is loaded, `transcribe_s` from there to the end. Recordings are mono at 16 kHz.
"""

from __future__ import annotations

import argparse
import json
from time import perf_counter
from typing import Any

_STARTED = perf_counter()


def main() -> None:
    """Prints `{"rows": [...], "n_windows": ..., "load_s": ..., "transcribe_s": ...}`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("recording")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--batch_size", type=int, default=8)
    args = parser.parse_args()
    import soundfile as sf
    import torch  # type: ignore[import-not-found]  # in no environment of ours
    from transformers import pipeline

    recognise: Any = pipeline(
        "automatic-speech-recognition",
        model=args.folder,
        dtype=getattr(torch, args.dtype),
        device="cpu",
        chunk_length_s=30,
        batch_size=args.batch_size,
        ignore_warning=True,
    )
    sizes: list[int] = []
    generate = recognise.model.generate

    def counted(**options: Any) -> object:  # noqa: ANN401  # the library has no types
        sizes.append(len(options["input_features"]))
        return generate(**options)

    recognise.model.generate = counted
    settings: dict[str, object] = {"num_beams": 1, "do_sample": False}
    if recognise.model.generation_config.is_multilingual:
        settings |= {"language": "en", "task": "transcribe"}
    ready = perf_counter()
    samples, rate = sf.read(args.recording, dtype="float32")
    result = recognise({"raw": samples, "sampling_rate": rate}, generate_kwargs=settings)
    times = {"load_s": ready - _STARTED, "transcribe_s": perf_counter() - ready}
    row = {"uri": args.recording, "text": result["text"].strip(), "language": "en"}
    print(json.dumps({"rows": [row], "n_windows": sum(sizes), **times}))


if __name__ == "__main__":
    main()
