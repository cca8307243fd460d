"""Work items to transcripts: all steps between the listing of recordings and the writing of rows.

    open -> read windows -> transcribe in batches
         -> [vote on the language -> the same again for outvoted windows and weak boundaries]
         -> group by audio_id -> merge

The steps of the first line are one fused stage: samples pass through no grouping, which would buffer them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import apache_beam as beam
from apache_beam.pvalue import PCollection

from transforms.dofns.assemble import Assemble
from transforms.dofns.keyed_work import (
    KEYS,
    TRANSCRIPTS,
    OpenKeyedWork,
    by_file_id,
    emit_for_keys,
    reopen_keyed_origin,
)
from transforms.dofns.open_work import OpenWork
from transforms.dofns.second_pass import by_file, plan_second_passes, reopen_origin
from transforms.dofns.tags import (
    FAILURES,
    LISTED,
    ORIGINS,
    PARTS,
    SECOND_PASS,
    SHARED,
    SPANS,
    UNFINISHED,
    WINDOWS,
)
from transforms.dofns.transcribe import TranscribeSpans
from transforms.merging.settings import MergeSettings
from transforms.reading.range_split import key_by_range

NamedCollections = dict[str, PCollection[Any]]
"""PCollections by name, with elements (audio_id, value) or failures."""

HintedTransform = TypeVar("HintedTransform", bound=beam.PTransform[Any, Any])


@dataclass
class TranscribeWork(beam.PTransform[PCollection[Any], NamedCollections]):
    """Transcribes the recordings of work items, each of which comes once.

    The result is a dict: `transcripts` of Transcript, one for each recording, `failures` of Failure, and,
    without keys, `listed`: the audio_id of each recording, as often as it is listed, and `unfinished`.

    Args:
        opener: opens the work items.
        transcribe: transcribes spans; the same in both passes.
        merge: how the windows of a recording are merged.
        share: whether the opener splits long recordings into ranges, which are distributed over workers.
        keyed: whether elements are (keys, work item), as `transforms.dofns.keyed_work.merge_keys` emits them;
            the results are then those of each key, as pairs with it.
        hints: resource hints of the steps that open recordings and that run the model, by name.
    """

    opener: OpenWork
    transcribe: TranscribeSpans
    merge: MergeSettings
    share: bool = False
    keyed: bool = False
    hints: Mapping[str, str] = field(default_factory=dict)

    def expand(self, work: PCollection[Any]) -> NamedCollections:
        """Opens, transcribes, decodes again what the vote overruled, and merges."""
        opened = self._opened(work)
        transcribe = self._hinted(self.transcribe)
        first = self._transcribed(opened, transcribe)
        collections = {PARTS: first[PARTS], WINDOWS: first[WINDOWS]}
        failures, keyed_failures = [first[FAILURES]], [opened[FAILURES]]
        if self.merge.needs_second_pass:
            spans = self._spans_again({**collections, ORIGINS: opened[ORIGINS]})
            second = spans[SPANS] | "Transcribe again" >> transcribe
            collections[SECOND_PASS] = second[WINDOWS]
            failures.append(second[FAILURES])
            keyed_failures.append(spans[FAILURES])
        merged = (
            collections
            | "Group by recording" >> beam.CoGroupByKey()
            | "Merge" >> beam.ParDo(Assemble(self.merge)).with_outputs(FAILURES, main=TRANSCRIPTS)
        )
        failures.append(merged[FAILURES])
        if not self.keyed:
            together = (*keyed_failures, *failures) | "Failures" >> beam.Flatten()
            named = {TRANSCRIPTS: merged[TRANSCRIPTS], FAILURES: together, LISTED: opened[LISTED]}
            return {**named, UNFINISHED: first[UNFINISHED]}
        by_id = failures | "Other failures" >> beam.Flatten() | "Failures by file" >> beam.Map(by_file_id)
        return self._for_keys(
            {
                KEYS: opened[KEYS],
                TRANSCRIPTS: merged[TRANSCRIPTS] | "Transcripts by file" >> beam.Map(by_file_id),
                FAILURES: (*keyed_failures, by_id) | "Failures" >> beam.Flatten(),
            }
        )

    def _hinted(self, transform: HintedTransform) -> HintedTransform:
        """Sets the resource hints of a step of the stage that runs the model.

        Steps that open recordings have the same hints: with different ones, runners would split the stage,
        and opened recordings would be transferred between the two.
        """
        if self.hints:
            transform.with_resource_hints(**self.hints)
        return transform

    def _opened(self, work: PCollection[Any]) -> Any:  # noqa: ANN401  # Beam's
        opener, more = (OpenKeyedWork(self.opener), KEYS) if self.keyed else (self.opener, LISTED)
        outputs = beam.ParDo(opener).with_outputs(ORIGINS, SHARED, FAILURES, more, main=SPANS)
        return work | "Open" >> self._hinted(outputs)

    def _transcribed(self, opened: Any, transcribe: TranscribeSpans) -> NamedCollections:  # noqa: ANN401  # Beam's
        """Transcribes the spans.

        Spans of long recordings are redistributed and form a stage of their own, so that the payloads of
        other recordings do not pass through a grouping. The redistribution is a `GroupByKey` and not a
        `Reshuffle`: Flink's optimizer drops a second `Reshuffle`, as it takes the collection for still
        distributed.
        """
        transcribed: NamedCollections = opened[SPANS] | "Transcribe" >> transcribe
        if not self.share:
            return transcribed
        spread = (
            opened[SHARED]
            | "Key by range" >> beam.Map(key_by_range)
            | "Spread spans" >> beam.GroupByKey()
            | "Spans" >> beam.FlatMapTuple(lambda _, spans: spans)
        )
        more = spread | "Transcribe spans" >> transcribe
        return {
            name: (transcribed[name], more[name]) | f"Both {name}" >> beam.Flatten() for name in transcribed
        }

    def _spans_again(self, collections: NamedCollections) -> Any:  # noqa: ANN401  # Beam's
        """Returns the spans of the second pass: outvoted windows, and boundaries where windows disagree."""
        files = {
            name: values | f"Files of {name}" >> beam.Map(by_file) for name, values in collections.items()
        }
        reopen = reopen_keyed_origin if self.keyed else reopen_origin
        reopened = beam.FlatMap(reopen, self.transcribe.policy).with_outputs(FAILURES, main=SPANS)
        return (
            files
            | "Group to vote" >> beam.CoGroupByKey()
            | "Vote on language" >> beam.FlatMap(plan_second_passes, self.merge)
            | "Group by place" >> beam.GroupByKey()
            | "Open again" >> self._hinted(reopened)
        )

    def _for_keys(self, collections: NamedCollections) -> NamedCollections:
        found = (
            collections
            | "Group by file" >> beam.CoGroupByKey()
            | "To keys" >> beam.FlatMap(emit_for_keys).with_outputs(FAILURES, main=TRANSCRIPTS)
        )
        return {name: found[name] for name in (TRANSCRIPTS, FAILURES)}
