"""Finds the cut from one window to the next: aligns the words that both recognised, and cuts through them.

Words are aligned as reads are in genome assembly, the end of the left side with the beginning of the right
one, and then one cut goes through the alignment. Each difference from "maximise the matches, else cut by
time" is made for a case in which that rule loses or doubles words:

- Repeats. With "no no no" from before the shared seconds until after them, more words can be matched than
  were recognised twice. So the score of a match decreases with the distance of its times, and with its
  distance from the shared seconds. A word inside them without a partner costs; the left side's words before
  them and the right side's words after them do not, because they have no partner. No merge can count a
  repeat that fills the shared seconds to both ends with a period shorter than the slack.
- A single matched word. A cut by time would double or lose it if its two times fall on different sides. So
  a cut lies between two steps of one path through both sides' words, on which a matched pair is one step.
- A sentence that one window skipped. A cut is charged for each word it drops although the other side has
  nothing there, so a few of these outweigh a run of matches or the middle.
- Inexact times: the words of a window without timestamps, or any words where the shared seconds are hardly
  longer than the slack of the times. They cannot show that two words are one spoken word, recognised
  differently; only a match can, and without one both sides are kept.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from transforms.core.types import Boundary, CutKind
from transforms.merging.timed_words import TimedWord

# With any of these halved or doubled, simulated talks timed to 0.5 s still merge without an error.
MATCH_SLACKS = 1.5  # words match within this times the sum of their slacks: 3 s for timestamped segments
FAR_COST = 1.0  # of a match at that limit, whose score is 1 at no distance; grows with the distance squared
GAP_COST = 1.0  # of a word without a partner where one is expected
SNAPPED_S = 0.1  # a segment that starts this close to its window's start was timed from there
PAUSE_S = 0.3  # a silence of this length is between phrases rather than inside a word
ORPHAN_COST = 1 / 3  # of a dropped word where the other side has nothing, in half overlaps off the middle


KIND_COST = {CutKind.RUN: 0.0, CutKind.PAUSE: 1.0, CutKind.MIDDLE: 1.25}  # in half overlaps off the middle


@dataclass(frozen=True)
class Cut:
    """A cut that keeps the first `n_left` words of the left side, and all but `n_right` of the right."""

    n_left: int
    n_right: int
    boundary: Boundary


@dataclass(frozen=True, slots=True)
class _Shared:
    """The candidates of both sides, in order, and the seconds that the windows share."""

    lefts: Sequence[TimedWord]
    rights: Sequence[TimedWord]
    start_s: float
    end_s: float

    @property
    def middle_s(self) -> float:
        return (self.start_s + self.end_s) / 2

    @property
    def is_rough(self) -> bool:
        """Whether times are too inexact to place a word within the shared seconds."""
        slack_s = max(word.slack_s for word in (*self.lefts, *self.rights))
        return 2 * slack_s > self.end_s - self.start_s or self.left_stopped

    @property
    def left_stopped(self) -> bool:
        """Whether the left side stopped seconds before its end, while the right side has further words.

        Whisper often leaves out a sentence that its window cuts. Few words of the left side are then at
        the time of the right side's first ones: they precede these, and are not the same words.
        """
        last = self.lefts[-1]
        until_s = last.end_s + last.slack_s
        continues = any(until_s < word.mid_s <= self.end_s for word in self.rights)
        if until_s + last.slack_s >= self.end_s or not continues:
            return False
        n_left, n_right = (
            sum(self.start_s <= word.mid_s <= until_s for word in words)
            for words in (self.lefts, self.rights)
        )
        return n_right > n_left + 1  # one may be a word of the left side, garbled by the window's edge


@dataclass(frozen=True, slots=True)
class _Step:
    """A word of the left side, one of the right side, or a pair of both that are the same word."""

    left: int | None
    right: int | None
    start_s: float
    end_s: float
    orphan: bool  # without a partner although the other side has no other word there

    @property
    def is_pair(self) -> bool:
        return self.left is not None and self.right is not None

    def mid_s(self) -> float:
        return (self.start_s + self.end_s) / 2


def find_cut(left: Sequence[TimedWord], right: Sequence[TimedWord], start_s: float, end_s: float) -> Cut:
    """Finds the cut from the left side to the right one.

    Words of the left side that lie before the shared seconds by more than their slack are never dropped, nor
    words of the right side that lie after them by more than their slack.

    Args:
        left: the words kept so far, in order.
        right: the words of the next window, in order.
        start_s: start of the shared seconds, which is that of the right window.
        end_s: their end, which is that of the left window; not after `start_s` if none are shared.
    """
    if end_s <= start_s:
        return Cut(len(left), 0, Boundary((start_s + end_s) / 2, CutKind.DISJOINT, 1.0))
    n_exclusive, n_candidates = len(left), 0
    while n_exclusive and left[n_exclusive - 1].mid_s >= start_s - left[n_exclusive - 1].slack_s:
        n_exclusive -= 1
    while n_candidates < len(right) and right[n_candidates].mid_s <= end_s + right[n_candidates].slack_s:
        n_candidates += 1
    shared = _Shared(left[n_exclusive:], right[:n_candidates], start_s, end_s)
    if not shared.lefts or not shared.rights:
        return Cut(len(left), 0, _one_sided(shared))
    path = _path(shared, _align(shared))
    n_steps, time_s, kind = _choose_cut(path, shared)
    n_left = n_exclusive + sum(step.left is not None for step in path[:n_steps])
    n_right = sum(step.right is not None for step in path[:n_steps])
    if kind is not CutKind.RUN and right[0].start_s <= start_s + SNAPPED_S:
        n_right -= _n_words_to_restore(path[:n_steps], right[:n_right], right[n_right:])
    return Cut(n_left, n_right, Boundary(time_s, kind, _agreement(path, shared)))


def _n_words_to_restore(
    path: Sequence[_Step], dropped: Sequence[TimedWord], kept: Sequence[TimedWord]
) -> int:
    """Returns how many of the right side's dropped words are kept, so that its first segment stays whole.

    Whisper times the first segment of a window from the window's start, however late the speech in it starts,
    so interpolation places its first words too early. Where the sides agree on no run of words, a cut by time
    through that segment is a guess, and half a sentence is worse than a whole one. Words up to the last one
    that both sides agree on stay dropped.
    """
    if not kept or kept[0].source[1] != 0:
        return 0
    last_pair = max((step.right for step in path if step.is_pair and step.right is not None), default=-1)
    n_words = sum(word.source == kept[0].source for word in dropped[last_pair + 1 :])
    return n_words if n_words > 1 else 0  # a single one may be a word that the window's edge cut


def _one_sided(shared: _Shared) -> Boundary:
    """Returns the boundary where one side, or both, have no candidates."""
    if any(word.mid_s >= shared.start_s for word in shared.lefts):
        return Boundary(shared.end_s, CutKind.EMPTY, 0.0)
    if any(word.mid_s <= shared.end_s for word in shared.rights):
        return Boundary(shared.start_s, CutKind.EMPTY, 0.0)
    return Boundary(shared.middle_s, CutKind.PAUSE, 1.0)


def _ramp(depth_s: float, slack_s: float) -> float:
    """Returns the certainty, 0 to 1, that a time `depth_s` past a mark and `slack_s` inexact is past it."""
    return min(max(depth_s / slack_s, 0.0), 1.0)


def _match_score(left: TimedWord, right: TimedWord, shared: _Shared) -> float | None:
    """Returns the score of matching two equal words; None if they are too far apart in time."""
    limit_s = MATCH_SLACKS * (left.slack_s + right.slack_s)
    distance_s = abs(left.mid_s - right.mid_s)
    if distance_s > limit_s:
        return None
    before = _ramp(shared.start_s - left.mid_s, left.slack_s)
    after = _ramp(right.mid_s - shared.end_s, right.slack_s)
    return 1.0 - FAR_COST * (distance_s / limit_s) ** 2 - before - after


def _align(shared: _Shared) -> list[tuple[int, int]]:
    """Finds the best pairs of equal words, in order: suffix-prefix alignment by dynamic programming.

    `scores[i][j]` is the best score of the first i words of the left side with the first j of the right.
    Words of the left side before the first match cost nothing as far as they lie before the shared seconds,
    and words of the right side after the last match as far as they lie after them; all other words without a
    partner cost `GAP_COST`.
    """
    lefts, rights = shared.lefts, shared.rights
    leading = accumulate((GAP_COST * _ramp(w.mid_s - shared.start_s, w.slack_s) for w in lefts), initial=0.0)
    scores = [[-cost] + [0.0] * len(rights) for cost in leading]
    scores[0] = [-GAP_COST * j for j in range(len(rights) + 1)]
    matched: set[tuple[int, int]] = set()
    for i, left in enumerate(lefts):
        above, row = scores[i], scores[i + 1]
        for j, right in enumerate(rights):
            best = max(above[j + 1], row[j]) - GAP_COST
            score = _match_score(left, right, shared) if left.key == right.key else None
            if score is not None and above[j] + score >= best:
                best = above[j] + score
                matched.add((i, j))
            row[j + 1] = best
    costs = (GAP_COST * _ramp(shared.end_s - word.mid_s, word.slack_s) for word in reversed(rights))
    trailing = list(accumulate(costs, initial=0.0))[::-1]
    n_right = max(range(len(rights) + 1), key=lambda j: scores[-1][j] - trailing[j])
    return _trace(scores, matched, n_right)


def _trace(scores: list[list[float]], matched: set[tuple[int, int]], n_right: int) -> list[tuple[int, int]]:
    """Traces the pairs back from the end of the left side and the first `n_right` words of the right side."""
    pairs: list[tuple[int, int]] = []
    i, j = len(scores) - 1, n_right
    while i and j:
        if (i - 1, j - 1) in matched:
            i, j = i - 1, j - 1
            pairs.append((i, j))
        elif scores[i - 1][j] >= scores[i][j - 1]:
            i -= 1
        else:
            j -= 1
    return pairs[::-1]


def _path(shared: _Shared, pairs: Sequence[tuple[int, int]]) -> list[_Step]:
    """Returns the words of both sides in one order: pairs as they match, the words between them by time.

    Where times are too inexact, the left side's words between two pairs come first, and all words without a
    partner are orphans.
    """
    rough = shared.is_rough
    left_mids = [word.mid_s for word in shared.lefts]
    right_mids = [word.mid_s for word in shared.rights]
    lefts, rights = [], []
    for i, word in enumerate(shared.lefts):
        orphan = rough or _has_no_neighbour(word, right_mids)
        lefts.append(_Step(i, None, word.start_s, word.end_s, orphan))
    for j, word in enumerate(shared.rights):
        orphan = rough or _has_no_neighbour(word, left_mids)
        rights.append(_Step(None, j, word.start_s, word.end_s, orphan))
    path: list[_Step] = []
    next_left = next_right = 0
    for i, j in [*pairs, (len(lefts), len(rights))]:
        unpaired = lefts[next_left:i], rights[next_right:j]
        path += unpaired[0] + unpaired[1] if rough else heapq.merge(*unpaired, key=_Step.mid_s)
        if i < len(lefts):
            start_s, end_s = lefts[i].start_s + rights[j].start_s, lefts[i].end_s + rights[j].end_s
            path.append(_Step(i, j, start_s / 2, end_s / 2, orphan=False))
        next_left, next_right = i + 1, j + 1
    return path


def _has_no_neighbour(word: TimedWord, others_mid_s: Sequence[float]) -> bool:
    """Whether the other side has no word within the slack."""
    after = bisect_left(others_mid_s, word.mid_s)
    nearest = others_mid_s[max(after - 1, 0) : after + 1]
    return all(abs(mid_s - word.mid_s) > word.slack_s for mid_s in nearest)


def _agreement(path: Sequence[_Step], shared: _Shared) -> float:
    """Returns the share of words in pairs among these and the unpaired words in the shared seconds."""
    paired = 2 * sum(step.is_pair for step in path)
    unpaired = sum(not step.is_pair and shared.start_s <= step.mid_s() <= shared.end_s for step in path)
    return paired / (paired + unpaired) if paired + unpaired else 1.0


def _choose_cut(path: Sequence[_Step], shared: _Shared) -> tuple[int, float, CutKind]:
    """Chooses between which steps to cut. Returns the number of steps before the cut, its time and its kind.

    The cut has the lowest cost: of its distance from the middle, its kind, and the orphans that it drops.
    """
    half_s = math.inf if shared.is_rough else shared.end_s - shared.middle_s
    n_lost = sum(step.orphan and step.left is not None for step in path)
    words_end_s = shared.start_s
    best, best_cost = (0, words_end_s, CutKind.MIDDLE), (math.inf, math.inf)
    for n_steps in range(len(path) + 1):
        silence_end_s = path[n_steps].start_s if n_steps < len(path) else shared.end_s
        kind = _kind(path[max(n_steps - 1, 0) : n_steps + 1], silence_end_s - words_end_s)
        time_s = (words_end_s + silence_end_s) / 2
        if words_end_s < silence_end_s:  # anywhere in the silence: as near to the middle as possible
            time_s = min(max(shared.middle_s, words_end_s), silence_end_s)
        distance_s = abs(time_s - shared.middle_s)
        cost = KIND_COST[kind] + ORPHAN_COST * n_lost + distance_s / half_s, distance_s
        if cost < best_cost:
            best, best_cost = (n_steps, time_s, kind), cost
        if n_steps < len(path):
            step = path[n_steps]
            words_end_s = max(words_end_s, step.end_s) if n_steps else step.end_s
            n_lost += step.orphan * (1 if step.left is None else -1)
    return best


def _kind(around: Sequence[_Step], silence_s: float) -> CutKind:
    """Returns the kind of a cut between two steps; at the ends of the path there is one step."""
    if len(around) == 2 and all(step.is_pair for step in around):
        return CutKind.RUN
    return CutKind.PAUSE if silence_s >= PAUSE_S else CutKind.MIDDLE
