"""Counts what folders and archives hold beside recordings, by extension, for the report of the run."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from transforms.core.metrics import NO_METRICS, Metrics
from transforms.core.uris import suffix
from transforms.sources.file_types import ARCHIVE_SUFFIXES, OTHER_SUFFIXES, is_hidden

FOLDERS, ARCHIVES = "folders", "archives"
HIDDEN, NO_EXTENSION, OTHER = "hidden", "without_extension", "with_other_extensions"
MAX_EXTENSIONS = 40
"""Extensions that are counted apart, of a run's folders or of an archive."""

COUNTED_IN_ARCHIVES = OTHER_SUFFIXES.union(ARCHIVE_SUFFIXES, (".cls", HIDDEN, NO_EXTENSION))
"""Kinds with a counter of their own in Beam, as each of a million archives may have other extensions.

WebDataset's classes are `.cls`.
"""

_PREFIX = "passed_over_in_"
_EXTENSION = re.compile(r"\.[a-z0-9_+-]{1,12}")


class PassedOver:
    """Counts files that were passed over.

    Args:
        place: `FOLDERS` or `ARCHIVES`.
        metrics: sink of the same counts; of archives, only common extensions are counted apart there.

    Attributes:
        counts: number of files by extension, or by `HIDDEN`, `NO_EXTENSION`, `OTHER`.
    """

    def __init__(self, place: str, metrics: Metrics = NO_METRICS) -> None:
        self.counts: Counter[str] = Counter()
        self._place, self._metrics = place, metrics

    def add(self, name: str) -> None:
        """Counts a file by its name, or by its path below the folder or in the archive."""
        kind = _kind(name)
        if kind not in self.counts and len(self.counts) >= MAX_EXTENSIONS:
            kind = OTHER
        self.counts[kind] += 1
        if self._place == ARCHIVES and kind not in COUNTED_IN_ARCHIVES:
            kind = OTHER
        self._metrics.count(f"{_PREFIX}{self._place}_{kind}")


def passed_over(counters: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Returns the numbers of files that were passed over, by place and extension.

    Args:
        counters: counters by name, among them those of `PassedOver`.
    """
    places = {
        place: {
            name.removeprefix(f"{_PREFIX}{place}_"): n
            for name, n in sorted(counters.items())
            if name.startswith(f"{_PREFIX}{place}_") and n
        }
        for place in (FOLDERS, ARCHIVES)
    }
    return {place: counts for place, counts in places.items() if counts}


def format_places(places: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Returns a line for each place of `passed_over`."""
    return [
        f"passed over in {place}: {format_counts(counts)} (not taken for audio)"
        for place, counts in places.items()
    ]


def format_counts(counts: Mapping[str, int]) -> str:
    """Returns numbers of files by extension as a text, the largest first: `3 .jpg, 1 hidden`."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{n} {kind.replace('_', ' ') if kind[0] != '.' else kind}" for kind, n in ordered)


def _kind(name: str) -> str:
    if is_hidden(name):
        return HIDDEN
    extension = suffix(name)
    if not extension.strip("."):
        return NO_EXTENSION
    return extension if _EXTENSION.fullmatch(extension) else OTHER
