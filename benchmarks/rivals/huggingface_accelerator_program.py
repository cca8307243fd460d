"""Program that times Hugging Face's Whisper with random weights on a GPU, for `benchmarks.accelerator`.

    python huggingface_accelerator_program.py CONFIG --batch_size 24 --n_tokens 100 --repeat 5

It needs torch. CONFIG is a folder with `config.json` and `generation_config.json`. The model runs in
bfloat16 with scaled dot-product attention and decodes greedily, exactly `--n_tokens` tokens. Prints the
seconds of each call as JSON: `features`, from samples on the host to the log-mel on the device, and
`generate`, from there to ids. Without a GPU it runs on the CPU.
"""

from __future__ import annotations

import argparse
import json
from time import perf_counter

import torch  # type: ignore[import-not-found]  # in no environment of ours
from transformers import (
    AutoConfig,
    GenerationConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)


def main() -> None:
    """Prints `{"features": [...], "generate": [...]}`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("--batch_size", type=int, default=24)
    parser.add_argument("--n_tokens", type=int, default=100)
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = make_model(args.config, device)
    extractor = WhisperFeatureExtractor(feature_size=model.config.num_mel_bins)
    torch.manual_seed(0)
    samples = list(0.1 * torch.randn(args.batch_size, 480_000).numpy())
    seconds: dict[str, list[float]] = {"features": [], "generate": []}
    for _ in range(args.repeat + 1):
        started = perf_counter()
        features = extractor(samples, sampling_rate=16_000, return_tensors="pt", device=device).input_features
        features = features.to(device, torch.bfloat16)
        synchronise(device)
        extracted = perf_counter()
        ids = model.generate(
            features,
            language="en",
            task="transcribe",
            do_sample=False,
            num_beams=1,
            min_new_tokens=args.n_tokens,
            max_new_tokens=args.n_tokens,
        )
        synchronise(device)
        seconds["features"].append(extracted - started)
        seconds["generate"].append(perf_counter() - extracted)
        if ids.shape[1] < args.n_tokens:
            raise RuntimeError(f"{ids.shape[1]} tokens were generated, expected {args.n_tokens}")
    print(json.dumps({name: times[1:] for name, times in seconds.items()}))


def make_model(folder: str, device: str) -> WhisperForConditionalGeneration:
    """Returns a model with that config and random weights."""
    config = AutoConfig.from_pretrained(folder, attn_implementation="sdpa")
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device):
        model = WhisperForConditionalGeneration(config)
    model.eval()
    torch.set_default_dtype(torch.float32)
    model.generation_config = GenerationConfig.from_pretrained(folder)
    return model


def synchronise(device: str) -> None:
    """Waits until the device is idle."""
    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
