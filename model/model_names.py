"""Names of Whisper models: the short names that openai/whisper uses, and names on the Hugging Face Hub."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path

MODEL_ALIASES: Mapping[str, str] = {
    "tiny": "openai/whisper-tiny",
    "tiny.en": "openai/whisper-tiny.en",
    "base": "openai/whisper-base",
    "base.en": "openai/whisper-base.en",
    "small": "openai/whisper-small",
    "small.en": "openai/whisper-small.en",
    "medium": "openai/whisper-medium",
    "medium.en": "openai/whisper-medium.en",
    "large-v1": "openai/whisper-large",
    "large-v2": "openai/whisper-large-v2",
    "large-v3": "openai/whisper-large-v3",
    "large": "openai/whisper-large-v3",  # as `whisper.load_model("large")` has it
    "large-v3-turbo": "openai/whisper-large-v3-turbo",
    "turbo": "openai/whisper-large-v3-turbo",
    "distil-small.en": "distil-whisper/distil-small.en",
    "distil-medium.en": "distil-whisper/distil-medium.en",
    "distil-large-v2": "distil-whisper/distil-large-v2",
    "distil-large-v3": "distil-whisper/distil-large-v3",
    "distil-large-v3.5": "distil-whisper/distil-large-v3.5",
}
"""Short name -> name on the Hugging Face Hub, which is the canonical one."""

HUB_NAMES = frozenset(MODEL_ALIASES.values())
_BY_REPOSITORY = {name.partition("/")[2]: name for name in HUB_NAMES}  # "whisper-base" and the like
_CHECKPOINT_FILES = (
    "config.json", "model.safetensors", "model.safetensors.index.json", "model.bin", "adapter_config.json",
    "pytorch_model.bin", "pytorch_model.bin.index.json", "flax_model.msgpack",
    "flax_model.msgpack.index.json",
    "weights.safetensors", "weights.npz",
)  # fmt: skip


def canonical_name(name: str) -> str:
    """Returns the name on the Hub for an alias, such as `openai/whisper-base` for `base` or `whisper-base`.

    A local checkpoint folder that is called like an alias precedes it. Any other name is returned as it is.
    """
    hub_name = MODEL_ALIASES.get(name, _BY_REPOSITORY.get(name, name))
    return name if hub_name != name and is_checkpoint_folder(Path(name)) else hub_name


def is_checkpoint_folder(folder: Path) -> bool:
    """Whether a folder holds a file by which checkpoints are recognised: its config, or weights."""
    return any((folder / file).is_file() for file in _CHECKPOINT_FILES)


def is_known_by_name(name: str) -> bool:
    """Whether a canonical name is that of an alias on the Hub, and of no checkpoint in a folder here."""
    return name in HUB_NAMES and not is_checkpoint_folder(Path(name))


def similar_names(name: str) -> list[str]:
    """Returns up to three aliases that resemble an unknown name, the most similar first."""
    short_name = name.lower().rpartition("/")[2].removeprefix("whisper-")
    return difflib.get_close_matches(short_name, MODEL_ALIASES)
