"""Audio without speech: silence, noise, tones, and synthetic music.

Each kind provokes hallucinations in another way: noise at the level of a quiet room, hum with the pitch of a
voice, bursts with the rhythm of syllables, vibrato and harmonics like those of singing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf
from numpy.random import Generator
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
SHORTEST, LONGEST = 4.0, 300.0  # seconds, for 41 minutes of audio in all; scaled for less

Signal = NDArray[np.float64]
"""float64[n] at `SAMPLE_RATE`, at any level."""
Make = Callable[[Generator, int], Signal]
"""Generates `n` samples of a sound."""


@dataclass(frozen=True)
class Recipe:
    """Recipe of a sound.

    Attributes:
        kind: category in the results.
        name: name of the sound within its kind.
        level_db: root mean square in dB of full scale, unless peaks would clip.
        make: generates the samples.
    """

    kind: str
    name: str
    level_db: float
    make: Make


def write_recordings(folder: Path, minutes: float, seed: int) -> dict[Path, str]:
    """Writes one WAV file of each sound, with lengths distributed evenly on a logarithmic scale.

    Args:
        folder: existing folder to write to.
        minutes: total length of all files.
        seed: seed of the random generator; the files depend on nothing else.

    Returns:
        The kind of each file, in order.
    """
    rng = np.random.default_rng(seed)
    shares = np.exp(rng.uniform(np.log(SHORTEST), np.log(LONGEST), len(RECIPES)))
    lengths = shares / shares.sum() * minutes * 60 * SAMPLE_RATE
    kinds = {}
    for recipe, length in zip(RECIPES, lengths, strict=True):
        path = folder / f"{recipe.kind}-{recipe.name}.wav"
        sf.write(path, at_level(recipe.make(rng, round(length)), recipe.level_db), SAMPLE_RATE, "PCM_16")
        kinds[path] = recipe.kind
    return kinds


def at_level(signal: Signal, level_db: float) -> Signal:
    """Scales the signal to that root mean square, or less where it would clip."""
    rms = np.sqrt(np.mean(signal**2))
    if not rms:
        return signal
    return np.asarray(signal * min(10 ** (level_db / 20) / rms, 0.99 / np.abs(signal).max()))


def zeros(_: Generator, n: int) -> Signal:
    """Digital silence."""
    return np.zeros(n)


def noise(slope: float) -> Make:
    """Noise whose power falls with frequency to the power of `slope`: 0 is white, 1 pink, 2 brown."""

    def make(rng: Generator, n: int) -> Signal:
        spectrum = np.fft.rfft(rng.standard_normal(n))
        hertz = np.maximum(np.fft.rfftfreq(n, 1 / SAMPLE_RATE), 20.0)  # lower frequencies are inaudible
        return np.fft.irfft(spectrum * hertz ** (-slope / 2), n)

    return make


def hum(mains_hz: float) -> Make:
    """Mains hum: odd and even harmonics of varying amplitude, with a little noise."""

    def make(rng: Generator, n: int) -> Signal:
        partials = harmonics(rng.uniform(0.1, 1.0, 12) / np.arange(1, 13))(np.full(n, mains_hz))
        waver = 1 + 0.1 * np.sin(2 * np.pi * 0.3 * seconds(n))
        return partials * waver + 0.02 * rng.standard_normal(n)

    return make


def tones(*frequencies_hz: float, on_s: float = 0.0, off_s: float = 0.0) -> Make:
    """Simultaneous pure tones, continuous or with pauses."""

    def make(_: Generator, n: int) -> Signal:
        time_s = seconds(n)
        signal = sum(np.sin(2 * np.pi * hertz * time_s) for hertz in frequencies_hz)
        is_on = time_s % (on_s + off_s) < on_s if off_s else True
        return np.asarray(signal * is_on)

    return make


def dialling(rng: Generator, n: int) -> Signal:
    """The tones of a telephone's keys, 80 ms each, ten in a row."""
    rows, columns = (697, 770, 852, 941), (1209, 1336, 1477)

    def key(_: int) -> Signal:
        pair = tones(float(rng.choice(rows)), float(rng.choice(columns)))(rng, samples(0.08))
        return np.concatenate([pair, np.zeros(samples(rng.uniform(0.05, 0.2)))])

    return one_after_another(lambda i: np.zeros(samples(2.0)) if i % 11 == 10 else key(i), n)


def sweep(low_hz: float, high_hz: float, period_s: float) -> Make:
    """A tone that rises and falls exponentially, like a siren."""

    def make(_: Generator, n: int) -> Signal:
        place = 0.5 - 0.5 * np.cos(2 * np.pi * seconds(n) / period_s)
        return np.sin(phase(low_hz * (high_hz / low_hz) ** place))

    return make


def clicks(mean_gap_s: float, regular: bool) -> Make:
    """Short clicks, regular like a metronome's or random like a worn record's."""

    def make(rng: Generator, n: int) -> Signal:
        n_clicks = max(1, int(n / SAMPLE_RATE / mean_gap_s))
        starts = np.arange(n_clicks) / n_clicks if regular else rng.random(n_clicks)
        return bursts(rng, n, (starts * n).astype(np.int64), length_s=0.02, decay_s=0.002)

    return make


def applause(claps_a_second: float) -> Make:
    """Applause: bursts of noise at random times, that swell and fade."""

    def make(rng: Generator, n: int) -> Signal:
        starts = rng.integers(0, n, max(1, int(n / SAMPLE_RATE * claps_a_second)))
        swell = 0.6 + 0.4 * np.sin(2 * np.pi * seconds(n) / rng.uniform(5, 15))
        return bursts(rng, n, starts, length_s=0.06, decay_s=0.012) * swell

    return make


def chords(rng: Generator, n: int) -> Signal:
    """Chords of three or four struck strings that decay, similar to a piano."""
    roots = (261.6, 196.0, 220.0, 174.6)

    def chord(i: int) -> Signal:
        third = 1.2 if i % 4 == 2 else 1.25
        return sum_of(
            [struck(roots[i % 4] * ratio, 2.0, 0.8) for ratio in (0.5, 1.0, third, 1.5)[: rng.integers(3, 5)]]
        )

    return one_after_another(chord, n)


def arpeggios(rng: Generator, n: int) -> Signal:
    """Fast arpeggios, up and down, similar to a guitar."""
    ratios = (1.0, 1.25, 1.5, 2.0, 1.5, 1.25)
    length_s = float(rng.uniform(0.15, 0.3))
    return one_after_another(
        lambda i: struck(110 * 2 ** ((0, 5, 7, 0)[i // 12 % 4] / 12) * ratios[i % 6], length_s, 0.3), n
    )


def drums(rng: Generator, n: int) -> Signal:
    """A drum kit at 110 beats a minute: kick, snare, hi-hat."""

    def eighth(i: int) -> Signal:
        n_eighth = samples(60 / 110 / 2)
        time_s = seconds(n_eighth)
        hat = 0.2 * rng.standard_normal(n_eighth) * np.exp(-time_s / 0.02)
        kick = np.sin(phase(50 + 100 * np.exp(-time_s / 0.03))) * np.exp(-time_s / 0.1) * (i % 4 == 0)
        snare = 0.6 * rng.standard_normal(n_eighth) * np.exp(-time_s / 0.06) * (i % 4 == 2)
        return np.asarray(hat + kick + snare)

    return one_after_another(eighth, n)


def melody(low_hz: float, partials: Sequence[float], vibrato: float, attack_s: float = 0.08) -> Make:
    """A melody of one voice on a scale: a violin, an organ pipe, or a flute, depending on its partials.

    Args:
        low_hz: frequency of the lowest note.
        partials: amplitudes of the harmonics.
        vibrato: depth of the vibrato as a share of the frequency, at 5.5 Hz.
        attack_s: duration of the attack and of the release of a note.
    """
    sound = harmonics(partials)

    def make(rng: Generator, n: int) -> Signal:
        def note(_: int) -> Signal:
            time_s = seconds(samples(rng.uniform(0.3, 1.5)))
            hertz = low_hz * 2 ** (rng.choice((0, 2, 4, 5, 7, 9, 11, 12)) / 12)
            swing = 1 + vibrato * np.sin(2 * np.pi * 5.5 * time_s) * np.minimum(time_s / 0.3, 1)
            edges = np.minimum(np.minimum(time_s, time_s[::-1]) / attack_s, 1)
            return sound(hertz * swing) * edges

        return one_after_another(note, n)

    return make


def band(rng: Generator, n: int) -> Signal:
    """Drums, chords and a melody together."""
    parts = (drums, chords, melody(392, [1 / k for k in range(1, 8)], 0.006))
    return sum_of([at_level(part(rng, n), -20) for part in parts])


def struck(hertz: float, length_s: float, decay_s: float) -> Signal:
    """A struck string whose high harmonics decay first."""
    time_s = seconds(samples(length_s))
    partials = [
        np.sin(2 * np.pi * k * hertz * time_s) / k * np.exp(-time_s * k**0.5 / decay_s) for k in range(1, 9)
    ]
    return sum_of(partials) * np.minimum(time_s / 0.005, 1)


def bursts(rng: Generator, n: int, starts: NDArray[np.int64], length_s: float, decay_s: float) -> Signal:
    """Bursts of noise that decay, each with a random amplitude."""
    signal = np.zeros(n + samples(length_s))
    fade = np.exp(-seconds(samples(length_s)) / decay_s)
    for start in starts:
        signal[start : start + len(fade)] += rng.uniform(0.3, 1) * rng.standard_normal(len(fade)) * fade
    return signal[:n]


def harmonics(amplitudes: Sequence[float] | Signal) -> Callable[[Signal], Signal]:
    """Returns a function that generates these harmonics from a frequency at each sample, without aliasing."""

    def make(hertz: Signal) -> Signal:
        angle = phase(hertz)
        audible = [(k, a) for k, a in enumerate(amplitudes, 1) if k * hertz.max() < SAMPLE_RATE / 2]
        return sum_of([amplitude * np.sin(k * angle) for k, amplitude in audible])

    return make


def phase(hertz: Signal) -> Signal:
    """Returns the phase of a tone in radians, given its frequency at each sample."""
    return np.asarray(2 * np.pi * np.cumsum(hertz) / SAMPLE_RATE)


def one_after_another(make: Callable[[int], Signal], n: int) -> Signal:
    """Concatenates sounds 0, 1, 2, ... to `n` samples."""
    parts: list[Signal] = []
    length = 0
    while length < n:
        parts.append(make(len(parts)))
        length += len(parts[-1])
    return np.concatenate(parts)[:n]


def sum_of(signals: Sequence[Signal]) -> Signal:
    """Adds signals of equal length."""
    return np.asarray(np.sum(signals, axis=0))


def samples(length_s: float) -> int:
    """Returns the number of samples in a duration."""
    return round(length_s * SAMPLE_RATE)


def seconds(n: int) -> Signal:
    """Returns the times of `n` samples, in seconds."""
    return np.arange(n) / SAMPLE_RATE


_VIOLIN = [1 / k for k in range(1, 16)]
_ORGAN = [1.0, 0.8, 0.0, 0.6, 0.0, 0.0, 0.0, 0.4]

RECIPES = (
    Recipe("silence", "zeros", 0, zeros),
    Recipe("silence", "dither", -90, noise(0)),
    *(
        Recipe("noise", f"{name}{level_db}dB", level_db, noise(slope))
        for slope, name in enumerate(("white", "pink", "brown"))
        for level_db in (-60, -40, -20)
    ),
    Recipe("hum", "50Hz-55dB", -55, hum(50)),
    Recipe("hum", "50Hz-30dB", -30, hum(50)),
    Recipe("hum", "60Hz-15dB", -15, hum(60)),
    Recipe("tones", "100Hz", -20, tones(100)),
    Recipe("tones", "440Hz", -12, tones(440)),
    Recipe("tones", "1kHz-beeps", -15, tones(1000, on_s=0.5, off_s=0.5)),
    Recipe("tones", "3kHz", -30, tones(3000)),
    Recipe("telephone", "keys", -15, dialling),
    Recipe("telephone", "ringing", -20, tones(440, 480, on_s=2, off_s=4)),
    Recipe("telephone", "busy", -20, tones(480, 620, on_s=0.5, off_s=0.5)),
    Recipe("sweeps", "slow", -20, sweep(50, 7500, 20)),
    Recipe("sweeps", "siren", -15, sweep(400, 1600, 3)),
    Recipe("sweeps", "warble", -20, sweep(150, 300, 0.4)),
    Recipe("clicks", "metronome", -35, clicks(0.5, regular=True)),
    Recipe("clicks", "crackle", -40, clicks(0.05, regular=False)),
    Recipe("applause", "few", -25, applause(8)),
    Recipe("applause", "hall", -15, applause(300)),
    Recipe("music", "chords", -18, chords),
    Recipe("music", "arpeggios", -18, arpeggios),
    Recipe("music", "drums", -18, drums),
    Recipe("music", "violin", -18, melody(294, _VIOLIN, 0.01)),
    Recipe("music", "cello", -18, melody(98, _VIOLIN, 0.008)),
    Recipe("music", "organ", -18, melody(131, _ORGAN, 0.0, attack_s=0.02)),
    Recipe("music", "flute", -22, melody(523, [1.0, 0.2, 0.05], 0.004)),
    Recipe("music", "band", -15, band),
)
