"""Decoding state of one window: temperature fallback, then further passes over what was left out.

The end of a window cuts a sentence, and Whisper tends to stop before an incomplete sentence, or after a long
pause. openai/whisper continues from the last pair of timestamps (`whisper/transcribe.py`, `seek`), and takes
a single one at the end to mean that no speech follows. With windows that are planned ahead, the audio between
the last timestamp and the next window's start would be lost. So if it contains speech, by voice activity
detection or else by loudness, this tail is decoded in a further pass.

With voice activity detection, a window is also decoded in pieces, between pauses
(`transforms.recognition.pieces`), each for one of these reasons, and once for each reason:

- the text repeats itself: what is spoken many times has fewer copies in a piece than a loop has;
- its language is unsure, or a piece of it is in another one: each run of one language is decoded by itself;
- speech has no text, or too little (`transforms.recognition.holes`): these holes are decoded by themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from model.interface import TRANSCRIBE, DecodingOptions, Request, WindowResult
from transforms.core.text import has_letters
from transforms.core.types import FAILED, AudioSource, Failure, Intervals, Window
from transforms.recognition.decode_passes import DecodePass as DecodePass
from transforms.recognition.decode_passes import DroppedRange as DroppedRange
from transforms.recognition.decode_passes import emptied, in_time_order
from transforms.recognition.fallback import NOT_SURE, FallbackPolicy
from transforms.recognition.holes import (
    NO_TEXT,
    Hole,
    all_dropped,
    chosen_pieces,
    filled,
    find_holes,
    without_filled,
)
from transforms.recognition.pieces import Piece, PieceKind, part_of, pieces_of
from transforms.recognition.previous_text import PreviousText
from transforms.recognition.short_windows import is_doubtful
from transforms.recognition.tails import REMAINDER, rejected_tail, silenced, tail_start
from transforms.recognition.window_languages import (
    Run,
    is_unsure,
    language_of,
    languages_of,
    mixed_result,
    runs_of,
)

MAX_PASSES = 4  # a window has at most two or three sentences that Whisper stops at

_WHOLE = (Piece(0),)


@dataclass(frozen=True)
class WindowDecode:
    """A window and its decodings so far.

    >>> decode = WindowDecode(AudioSource("5f1d", "/talk.wav"), window)
    >>> decode.request(DecodingOptions(), FallbackPolicy()).temperature
    0.0
    >>> decode = decode.with_result(WindowResult((), "en", avg_logprob=-2.0), FallbackPolicy())
    >>> decode.request(DecodingOptions(), FallbackPolicy()).temperature
    0.2

    Attributes:
        source: source of the window, without payload.
        passes: the accepted passes so far, in order.
        attempts: the rejected decodings of the current piece.
        pieces: the pieces to be decoded, the current one first; empty if the window is finished.
        counts: names of the run's counters to be increased by one, in order.
        failures: failures of decodings that raised an exception.
        dropped: samples that have no text, or whose text was dropped, so far.
        languages: codes of the languages that are possible; empty for all.
        found: decodings of the pieces before the current one: of holes, or to detect their languages.
        rejected: pieces of holes whose text was rejected, or that the model failed on.
        first: the first decoding of the window, while its languages are detected.
        has_languages: whether the languages of the pieces were detected; this happens once.
        has_holes: whether holes were decoded; this happens once, and once more after languages were detected.
        previous: the text of the windows before, if the model is given it.
    """

    source: AudioSource
    window: Window
    passes: tuple[DecodePass, ...] = ()
    attempts: tuple[WindowResult, ...] = ()
    pieces: tuple[Piece, ...] = _WHOLE
    counts: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()
    dropped: tuple[DroppedRange, ...] = ()
    languages: tuple[str, ...] = ()
    found: tuple[DecodePass, ...] = ()
    rejected: tuple[DroppedRange, ...] = ()
    first: WindowResult | None = None
    has_languages: bool = False
    has_holes: bool = False
    previous: PreviousText | None = None

    @property
    def is_finished(self) -> bool:
        """Whether no further decoding is needed."""
        return not self.pieces

    @property
    def start(self) -> int | None:
        """The sample at which the next decoding begins; None if the window is finished."""
        return self.pieces[0].start if self.pieces else None

    @property
    def next_window(self) -> Window:
        """The window to decode next: the whole one, or a piece of it."""
        piece = self.pieces[0] if self.pieces else Piece(0)
        return self.window if piece.kind is PieceKind.WINDOW else part_of(self.window, piece)

    def request(self, decoding: DecodingOptions, fallback: FallbackPolicy) -> Request:
        """Returns the request to the model for the next decoding.

        Its language is the window's; a prompt and hot words of the recording replace those of `decoding`.
        """
        window, piece = self.next_window, self.pieces[0]
        temperature = fallback.temperature[len(self.attempts)]
        return Request(
            samples=window.samples,
            language=self.attempts[0].language if self.attempts else window.language,
            temperature=temperature,
            seed=fallback.seed_of(window, temperature) if temperature else 0,
            prompt=decoding.initial_prompt or "" if self.source.prompt is None else self.source.prompt,
            hotwords=decoding.hotwords or "" if self.source.hotwords is None else self.source.hotwords,
            previous=self.previous.before(piece, self.passes) if self.previous else (),
            task=decoding.task or TRANSCRIBE,
            timestamps=decoding.return_timestamps,
            word_timestamps=decoding.word_timestamps,
            full_window=piece.is_full or piece.kind not in (PieceKind.WINDOW, PieceKind.TAIL),
        )

    def with_result(self, result: WindowResult, fallback: FallbackPolicy) -> WindowDecode:
        """Adds the decoding of `next_window`, and decides how to continue, if at all."""
        piece, attempts = self.pieces[0], (*self.attempts, result)
        if not piece.is_full and is_doubtful(result, fallback):
            full = replace(self, pieces=(replace(piece, is_full=True), *self.pieces[1:]))
            return full._counting("short_windows_repeated")
        if piece.kind is PieceKind.LANGUAGE:
            found = replace(self, found=(*self.found, DecodePass(piece.start, result)))
            return found._after_piece(fallback)
        if piece.kind is PieceKind.WINDOW and not self.attempts and is_unsure(result):
            detecting = replace(self, first=result)._detecting(piece)
            if detecting is not None:
                return detecting
        is_open = self.next_window.language is None and not self.attempts
        if is_open and piece.kind in (PieceKind.TAIL, PieceKind.HOLE):
            own = self.passes[0].result.language
            language = language_of(result, own, self.languages)
            if language != own and (detecting := self._detecting(replace(piece, language=own))) is not None:
                return detecting
            if language != result.language:  # again, in the language that it is in
                return replace(self, pieces=(replace(piece, language=language), *self.pieces[1:]))
        return self._decided(attempts, fallback)

    def with_failure(self, failure: Failure, fallback: FallbackPolicy) -> WindowDecode:
        """Adds a decoding that raised: the piece ends with the best of its earlier attempts, if any."""
        failed = replace(self, failures=(*self.failures, failure))
        piece = self.pieces[0]
        if self.attempts and piece.kind is not PieceKind.TAIL:
            return failed._accepted(self.attempts, fallback.best(self.attempts), fallback)
        if piece.kind is PieceKind.LANGUAGE:
            return failed._after_piece(fallback)
        _, stop = self._range
        if piece.kind is PieceKind.HOLE:
            return failed._rejecting(FAILED)._after_piece(fallback)
        if piece.kind is PieceKind.TAIL:
            stop = self.window.n_unshared
        lost = DroppedRange(piece.start, stop, FAILED)
        failed = replace(failed, dropped=(*self.dropped, lost), attempts=())
        if piece.kind is PieceKind.WINDOW:
            return replace(failed, pieces=())
        return failed._after_piece(fallback)

    @property
    def _range(self) -> tuple[int, int]:
        """The first sample of the current piece, and one past its last."""
        piece = self.pieces[0]
        return piece.start, self.window.samples.size if piece.stop is None else piece.stop

    def _counting(self, name: str) -> WindowDecode:
        return replace(self, counts=(*self.counts, name))

    def _decided(self, attempts: tuple[WindowResult, ...], fallback: FallbackPolicy) -> WindowDecode:
        """Accepts or rejects the last attempt at the current piece."""
        kind, result = self.pieces[0].kind, attempts[-1]
        if kind is PieceKind.HOLE:  # rare speech or common noise: one attempt
            return self._with_hole(result, fallback)
        if kind is PieceKind.TAIL:  # the previous pass wrote no text there: it must pass every threshold
            failed, hopeless = not fallback.is_sure(result), fallback.is_silent(result)
        else:
            failed, hopeless = fallback.reason(result) is not None, False
        if not failed:
            return self._accepted(attempts, result, fallback)
        is_first = kind is PieceKind.WINDOW and len(attempts) == 1
        if is_first and (in_parts := self._in_parts(result, fallback)) is not None:
            return in_parts
        if not hopeless and len(attempts) < len(fallback.temperature):
            rejected = replace(self, attempts=attempts)
            return rejected._counting(f"failed_{fallback.reason(result) or NOT_SURE}")
        if kind is PieceKind.TAIL:
            tail = rejected_tail(self.window, self.pieces[0].start, fallback.best(attempts))
            dropped = (*self.dropped, *tail)
            after = replace(self, attempts=(), dropped=dropped)._counting("remainders_dropped")
            return after._after_piece(fallback)
        return self._accepted(attempts, fallback.best(attempts), fallback)

    def _accepted(
        self, attempts: Sequence[WindowResult], kept: WindowResult, fallback: FallbackPolicy
    ) -> WindowDecode:
        # The later attempts were given the language that the first one detected.
        kept = replace(kept, language_probs=attempts[0].language_probs)
        dropped = self.dropped
        if fallback.is_silent(kept):
            dropped += tuple(silenced(self.window, kept, *self._range))
            kept = replace(kept, segments=())
        reason = fallback.reason(attempts[0]) if len(attempts) > 1 else None
        piece = self.pieces[0]
        if piece.kind is PieceKind.PART:
            reason = self.passes[0].fallback
        passes = (*self.passes, DecodePass(piece.start, kept, reason))
        after = replace(self, passes=passes, attempts=(), dropped=dropped)
        if piece.kind not in (PieceKind.WINDOW, PieceKind.TAIL):
            return after._after_piece(fallback)
        tail = tail_start(self.next_window, kept)
        if tail is None:
            return after._after_piece(fallback)
        if len(passes) == MAX_PASSES and self._has_positions:  # the rest is a hole
            return after._after_piece(fallback)
        if len(passes) == MAX_PASSES:
            rest = DroppedRange(piece.start + tail, self.window.n_unshared, REMAINDER)
            return replace(after, dropped=(*dropped, rest))._after_piece(fallback)
        language = passes[0].result.language if self.window.speech is None else self.window.language
        next_piece = Piece(piece.start + tail, None, PieceKind.TAIL, language)
        return replace(after, pieces=(next_piece,))._counting("remainders")

    def _after_piece(self, fallback: FallbackPolicy) -> WindowDecode:
        """Continues with the next piece, or with what the pieces of one kind lead to."""
        done, *rest = self.pieces
        after = replace(self, pieces=tuple(rest), attempts=())
        if done.kind is PieceKind.LANGUAGE and rest[0].kind is not PieceKind.LANGUAGE:
            return after._with_languages(rest[0], fallback)
        if rest:
            return after
        if done.kind is PieceKind.HOLE:
            return after._with_holes_filled()
        if done.kind is PieceKind.RUN:
            in_order = sorted(self.passes[1:], key=lambda one: one.offset)
            after = replace(after, passes=(self.passes[0], *in_order))
        return after._with_holes()

    def _in_parts(self, result: WindowResult, fallback: FallbackPolicy) -> WindowDecode | None:
        """Decodes the window in pieces, if its text repeats itself and it has pauses; else None."""
        if not (fallback.repeats(result) and result.timestamped):
            return None
        parts = self._division()
        if len(parts) < 2 or len(fallback.temperature) == 1:
            return None
        reason = fallback.reason(result)
        language = self.window.language or result.language
        return replace(
            self,
            passes=(emptied(DecodePass(0, result, reason)),),
            attempts=(),
            pieces=tuple(Piece(start, stop, PieceKind.PART, language) for start, stop in parts),
            counts=(*self.counts, f"failed_{reason}", *("pieces_part" for _ in parts)),
        )

    def _division(self) -> Intervals:
        return pieces_of(self.window, 0, self.window.samples.size)

    @property
    def _first_result(self) -> WindowResult:
        return self.passes[0].result if self.first is None else self.first

    def _detecting(self, resumed: Piece) -> WindowDecode | None:
        """Detects the language of each piece of the window; None if that cannot be done, or was done.

        Args:
            resumed: the piece to continue with if all are in the language of the window.
        """
        if self.has_languages or self.window.language is not None or not self._first_result.timestamped:
            return None
        division = self._division()
        if len(division) < 2:
            return None
        pieces = (Piece(start, stop, PieceKind.LANGUAGE) for start, stop in division)
        return replace(
            self,
            has_languages=True,
            has_holes=False,
            attempts=(),
            found=(),
            pieces=(*pieces, resumed),
            counts=(*self.counts, *("pieces_language" for _ in division)),
        )

    def _with_languages(self, resumed: Piece, fallback: FallbackPolicy) -> WindowDecode:
        """Continues with `resumed` if all pieces are in the language of the window, else with its runs."""
        first, decoded = self._first_result, {one.offset: one.result for one in self.found}
        division = self._division()
        results = [decoded.get(start) for start, _ in division]
        texts = [one if one and one.segments and not fallback.is_silent(one) else None for one in results]
        languages = languages_of(texts, first.language, self.languages)
        runs = runs_of(languages, first.language)
        if any(run.language != first.language for run in runs):
            return self._in_runs(runs, division, fallback)
        after = replace(self, first=None, found=(), pieces=(resumed,))
        if resumed.kind is PieceKind.WINDOW:
            return after._decided((first,), fallback)
        return (
            after if resumed.kind is PieceKind.TAIL else replace(after, pieces=())._with_holes(first.language)
        )

    def _in_runs(self, runs: Sequence[Run], division: Intervals, fallback: FallbackPolicy) -> WindowDecode:
        """Decodes each run of one language by itself, instead of the window."""
        decoded = {one.offset: one.result for one in self.found}
        ranges = [(division[run.first][0], division[run.last][1]) for run in runs]
        head = mixed_result(
            self._first_result,
            [(run.language, stop - start) for run, (start, stop) in zip(runs, ranges, strict=True)],
            [(decoded[a].language_probs, b - a) for a, b in division if a in decoded],
        )
        passes, pieces = [DecodePass(0, head)], list[Piece]()
        for run, (start, stop) in zip(runs, ranges, strict=True):
            result = decoded.get(start) if run.first == run.last else None
            if result is None or result.language != run.language or fallback.reason(result) is not None:
                pieces.append(Piece(start, stop, PieceKind.RUN, run.language))
            elif not fallback.is_silent(result):
                passes.append(DecodePass(start, result))
        after = replace(
            self,
            first=None,
            found=(),
            passes=tuple(passes),
            pieces=tuple(pieces),
            dropped=(),
            has_holes=False,
            counts=(*self.counts, *("pieces_run" for _ in pieces)),
        )
        return after if pieces else after._with_holes()

    def _with_hole(self, result: WindowResult, fallback: FallbackPolicy) -> WindowDecode:
        """Adds the decoding of a piece of a hole, if it passes every threshold."""
        if not has_letters(text := "".join(segment.text for segment in result.segments)):
            return self._after_piece(fallback)
        if not fallback.is_sure(result):
            return self._rejecting(NO_TEXT, text)._after_piece(fallback)
        found = (*self.found, DecodePass(self.pieces[0].start, result))
        return replace(self, found=found)._after_piece(fallback)

    def _rejecting(self, reason: str, text: str = "") -> WindowDecode:
        return replace(self, rejected=(*self.rejected, DroppedRange(*self._range, reason, text)))

    def _with_holes(self, language: str | None = None) -> WindowDecode:
        """Decodes the holes of the window, if there are any; else the window is finished.

        Args:
            language: code of the language of its pieces; None for that of the window, or else to detect it.
        """
        if self.has_holes or not self._has_positions:
            return self._finished()
        pieces = [
            Piece(start, stop, PieceKind.HOLE, language)
            for start, stop in chosen_pieces(self.window, self._holes())
        ]
        if not pieces:
            return self._finished()
        counts = (*self.counts, *("pieces_hole" for _ in pieces))
        return replace(self, has_holes=True, found=(), rejected=(), pieces=tuple(pieces), counts=counts)

    @property
    def _has_positions(self) -> bool:
        """Whether it is known where the window has speech, and where it has text."""
        return self.window.speech is not None and bool(self.passes) and self.passes[0].result.timestamped

    def _holes(self) -> tuple[Hole, ...]:
        decoded = [one for one in self.dropped if one.reason in (REMAINDER, FAILED)]
        return find_holes(self.window, self.passes, decoded)

    def _with_holes_filled(self) -> WindowDecode:
        """Adds the text of holes to that of the window."""
        kept, replaced = filled(self._holes(), self.found)
        if not kept:
            return self._finished()
        dropped = without_filled(self.dropped, kept)
        passes = in_time_order(self.passes, kept, replaced)
        counts = (*self.counts, *("holes_filled" for _ in kept))
        return replace(self, passes=passes, dropped=dropped, counts=counts)._finished()

    def _finished(self) -> WindowDecode:
        """Ends the decoding; speech that has no text is listed."""
        dropped = self.dropped
        if self.window.speech is not None and self.passes:
            dropped = all_dropped(self.window, self.passes, dropped, self.rejected)
        return replace(self, pieces=(), attempts=(), found=(), rejected=(), first=None, dropped=dropped)
