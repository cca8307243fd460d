"""Decides which files of a folder are recordings or archives, and counts the others."""

from __future__ import annotations

import os

from transforms.core.metrics import NO_METRICS, Metrics
from transforms.sources.file_content import has_audio_content
from transforms.sources.file_types import is_archive, is_audio, is_hidden, is_other
from transforms.sources.output_folder import OutputFolder
from transforms.sources.passed_over import FOLDERS, PassedOver


class FolderFilter:
    """Which files of the folders that a run searches are its inputs.

    Args:
        metrics: sink of the counts of files that were passed over.
        output: the folder that the run writes to, which is no input; None if there is none.

    Attributes:
        passed_over: the files that are no inputs.
    """

    def __init__(self, metrics: Metrics = NO_METRICS, output: OutputFolder | None = None) -> None:
        self.passed_over = PassedOver(FOLDERS, metrics)
        self.output = output

    def takes_file(self, path: str) -> bool:
        """Whether a local file is an input: by its extension, or where that does not tell, by its content."""
        name = os.path.basename(path)
        is_known = is_audio(name) or is_archive(name)
        taken = not is_hidden(name) and (is_known or (not is_other(name) and has_audio_content(path)))
        return self._counted(name, taken)

    def takes_name(self, name: str) -> bool:
        """Whether a remote file is an input, by its path below the folder alone: opening each is slow."""
        return self._counted(name, not is_hidden(name) and (is_audio(name) or is_archive(name)))

    def _counted(self, name: str, taken: bool) -> bool:
        if not taken:
            self.passed_over.add(name)
        return taken
