"""Default rows of a batch on common cards, and the memory that is counted for them.

    python -m benchmarks.card_rows
    python -m benchmarks.card_rows --dtype bfloat16 --beam_sizes 1

No card is needed: it is all computed from the sizes of the models (`model/memory.py`).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import astuple

from benchmarks.support.random_model import SHAPES
from benchmarks.support.timing import markdown_head, markdown_row
from model.cards import CARDS, format_rows, gpu_memory
from model.config import WhisperConfig
from model.interface import DTYPES, ModelOptions

MODELS: Mapping[str, WhisperConfig] = {
    "tiny": WhisperConfig(80, 384, 1536, 4, 6, 4, 6, 51_865),
    "base": WhisperConfig(80, 512, 2048, 6, 8, 6, 8, 51_865),
    "small": WhisperConfig(80, 768, 3072, 12, 12, 12, 12, 51_865),
    "medium": WhisperConfig(80, 1024, 4096, 24, 16, 24, 16, 51_865),
    **{name: SHAPES[name] for name in ("large-v3-turbo", "large-v3")},
}
PARTS = ("weights", "cross-attention caches", "self-attention caches", "encoder", "logits", "in all")


def main() -> None:
    """Prints two tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--dtype", choices=DTYPES, default="auto")
    parser.add_argument("--beam_sizes", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--batch_size", type=int, default=16, help="rows of the second table")
    args = parser.parse_args()
    print(markdown_head(["model", "beams", *CARDS]))
    memories = [
        (name, beams, gpu_memory(config, ModelOptions(dtype=args.dtype, beam_size=beams)))
        for name, config in MODELS.items()
        for beams in args.beam_sizes
    ]
    for name, beams, memory in memories:
        print(markdown_row([name, beams, *(format_rows(memory, n_bytes) for n_bytes in CARDS.values())]))
    print(f"\nGB for batches of {args.batch_size} rows:\n\n{markdown_head(['model', 'beams', *PARTS])}")
    for name, beams, memory in memories:
        use = memory.use(args.batch_size)
        print(markdown_row([name, beams, *(f"{part / 1e9:.1f}" for part in (*astuple(use), use.total))]))


if __name__ == "__main__":
    main()
