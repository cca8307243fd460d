"""Datasets that `save_to_disk` of Hugging Face `datasets` wrote: folders of Arrow files with their list."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from transforms.core.errors import DatasetError

_STATE_FILE = "state.json"
_SPLITS_FILE = "dataset_dict.json"


def saved_files(folder: str, split: str) -> list[str] | None:
    """Returns the Arrow files of a split of a saved dataset; None if the folder is no saved dataset.

    Args:
        folder: local folder of a `Dataset`, which is of any split, or of a `DatasetDict`.
        split: name of the split.

    Raises:
        DatasetError: there is no such split, or the folder is damaged.
    """
    if os.path.isfile(os.path.join(folder, _SPLITS_FILE)):
        splits = _read(folder, _SPLITS_FILE).get("splits")
        if not isinstance(splits, list) or split not in splits:
            raise DatasetError(f"the dataset {folder!r} has no split {split!r}; there are {splits}")
        folder = os.path.join(folder, split)
    elif not os.path.isfile(os.path.join(folder, _STATE_FILE)):
        return None
    state = _read(folder, _STATE_FILE)
    files = state.get("_data_files")
    if not isinstance(files, list) or not files or not all(map(_is_entry, files)):
        raise DatasetError(f"{folder}/{_STATE_FILE} lists no files of a dataset; save it again")
    if state.get("_indices_data_files"):
        raise DatasetError(
            f"the dataset {folder!r} is a selection of rows of its files, as old versions of `datasets` "
            "saved it; load it and save it again"
        )
    return [os.path.join(folder, os.path.basename(str(one["filename"]))) for one in files]


def other_splits(folder: str, split: str) -> list[str]:
    """Returns the other splits of a saved `DatasetDict`."""
    if not os.path.isfile(os.path.join(folder, _SPLITS_FILE)):
        return []
    return [str(one) for one in _read(folder, _SPLITS_FILE).get("splits", []) if one != split]


def _read(folder: str, name: str) -> Mapping[str, Any]:
    path = os.path.join(folder, name)
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read: {error}; save the dataset again") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path} is no description of a dataset; save it again")
    return content


def _is_entry(entry: object) -> bool:
    return isinstance(entry, dict) and "filename" in entry
