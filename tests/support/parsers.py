"""Small inputs of every parser except audio decoders, and checks that hold however an input is damaged."""

from __future__ import annotations

import gzip
import io
import json
import tempfile
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save

from model.checkpoint import CheckpointError, find_checkpoint
from model.tokens import TokenizerError, tokenizer_of
from tests.support.archive_builders import ARCHIVE_BUILDERS
from tests.support.fuzzing import small_files
from tests.support.tiny_model import (
    CTRANSLATE2_CONFIG,
    GENERATION_CONFIG,
    TINY_CONFIG,
    ctranslate2_bytes,
    ctranslate2_variables,
    tiny_tokenizer,
    tiny_weights,
)
from transforms.audio.container_lengths import declared_size, has_audio_signature
from transforms.audio.mp4_counts import declared_samples
from transforms.audio.mpeg_audio import mp3_declared_s, mpeg_frame
from transforms.audio.ogg import ogg_end
from transforms.audio.raw_gsm import is_raw_gsm
from transforms.checkpoint.commit_log import LogWriter, read_index
from transforms.checkpoint.spans import SpanResult, from_record, to_record, work_unit_key
from transforms.core.errors import AudioError, DatasetError, ManifestError, to_failure
from transforms.core.types import AudioSource, AudioSpan, Failure
from transforms.sources.archives import ArchiveShard, read_archive
from transforms.sources.manifests import manifest_shards, read_manifest_shard
from transforms.sources.parquet import parquet_shards, read_shard
from transforms.writing.rows import metadata_text

MANIFESTS = {
    ".csv": b'path,text,start,end,language\na.wav,"said, ""so""\nand so",0.5,2,en\nb.wav,,,,fr\n',
    ".tsv": 'path\tsentence\toffset\nclips/a.mp3\t"er sagte\t1.5\nb.mp3\tgr\u00fc\u00df\t\n'.encode(),
    ".jsonl": b'{"audio": "a.wav", "duration": 1.5, "offset": 0, "n": [1, {"m": NaN}]}\n{"audio": "b.wav"}\n',
    ".json": b'[{"audio": "a.wav", "channel": 1},\n {"audio": "b.wav", "start": "0:01.5"}]\n',
    ".jsonl.gz": gzip.compress(b'{"audio": "a.wav", "language": "deu"}\n{"audio": "b.wav"}\n' * 9, mtime=0),
    ".txt": b"a.wav\nhttps://example.org/b.wav?token=1\n\ntalks/c.mp3\n",
}
SOURCE = AudioSource("0" * 16, "a.wav")


@cache
def small_inputs() -> dict[str, bytes]:
    """Returns inputs of every kind by name, `KIND/FORMAT`."""
    talk = {"a.wav": b"RIFF" * 50, "a.txt": b"said", "b/c.flac": b"fLaC" * 20, "b/c.json": b'{"text": "s"}'}
    return {
        **{f"manifest/{suffix}": data for suffix, data in MANIFESTS.items()},
        **{f"archive/{name}": pack(talk) for name, pack in ARCHIVE_BUILDERS.items()},
        "log/segment": _log(),
        **{f"checkpoint/{folder}/{name}": data for folder, name, data in _checkpoint_files()},
        **{f"headers/{name}": data for name, data in small_files().items()},
        "parquet/rows": _parquet(),
    }


def outcome(name: str, data: bytes) -> str:
    """Parses an input; returns `read`, or the name of an error that its reader documents.

    Raises:
        Exception: any other error; `AssertionError` where the parsed values violate the reader's contract.
    """
    kind, _, form = name.partition("/")
    return _READERS[kind](form, data)


def _read_manifest(suffix: str, data: bytes) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"manifest{suffix}"
        path.write_bytes(data)
        try:
            for shard in manifest_shards(str(path)):
                _check_listed(read_manifest_shard(shard))
        except (ManifestError, AudioError) as error:
            return _refused(error)
    return "read"


def _read_archive(name: str, data: bytes) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "archive"
        path.write_bytes(data)
        try:
            _check_listed(read_archive(ArchiveShard(str(path))))
        except AudioError as error:
            return _refused(error)
    return "read"


def _read_parquet(name: str, data: bytes) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shard.parquet"
        path.write_bytes(data)
        try:
            for shard in parquet_shards(str(path), "train", [str(path)], None, None):
                _check_listed(read_shard(shard))
        except (DatasetError, AudioError) as error:
            return _refused(error)
    return "read"


def _check_listed(found: Iterable[AudioSource | Failure]) -> None:
    """Checks that sources are valid for the next steps: a key, a row, a failure."""
    for one in found:
        if isinstance(one, Failure):
            one.message.encode()
            continue
        assert isinstance(one, AudioSource)
        assert len(work_unit_key(AudioSpan(one))) == 32
        to_failure(one, AudioError("fetch", "not_found", one.name)).uri.encode()
        json.loads(metadata_text(one.metadata) or "{}")


def _read_log(name: str, data: bytes) -> str:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "segment.log").write_bytes(data)
        index = read_index(folder)
        for key in ("one", "two"):
            try:
                if key in index:
                    assert isinstance(from_record(index.read(key), SOURCE), SpanResult)
            except msgspec.ValidationError as error:
                return _refused(error)
    return "read"


def _read_headers(name: str, data: bytes) -> str:
    file = io.BytesIO(data)
    for found in (declared_size(file), mp3_declared_s(file), declared_samples(file)):
        assert found is None or found >= 0
    ogg_end(file)
    mpeg_frame(data[:4])
    is_raw_gsm(data)
    has_audio_signature(data[:16])
    return "read"


def _read_checkpoint(path: str, data: bytes) -> str:
    wanted, damaged = path.split("/")
    with tempfile.TemporaryDirectory() as folder:
        for checkpoint_folder, name, content in _checkpoint_files():
            if checkpoint_folder == wanted:
                (Path(folder) / name).write_bytes(data if name == damaged else content)
        try:
            checkpoint = find_checkpoint(folder)
            for _, weight in checkpoint.weights():
                assert weight.nbytes >= 0
            tokenizer = tokenizer_of(checkpoint)
            tokenizer.decode(tokenizer.encode_text("heard"))
        except (CheckpointError, TokenizerError) as error:
            return _refused(error)
    return "read"


def _refused(error: Exception) -> str:
    """Checks that the message of an error can be printed; returns the error's name."""
    assert str(error)
    str(error).encode()
    return type(error).__name__


_READERS: Mapping[str, Callable[[str, bytes], str]] = {
    "manifest": _read_manifest, "archive": _read_archive, "parquet": _read_parquet, "log": _read_log,
    "headers": _read_headers, "checkpoint": _read_checkpoint,
}  # fmt: skip


def _log() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        writer = LogWriter(folder)
        writer.begin(["one", "two", "three"])
        failed = to_failure(SOURCE, AudioError("fetch", "not_found", "gone"))
        results = (SpanResult("one", failures=(failed,)), SpanResult("two", counts={"windows": 2}))
        writer.commit((result.key, to_record(result)) for result in results)
        writer.release(["three"])
        writer.close()
        (segment,) = Path(folder).iterdir()
        return segment.read_bytes()


def _parquet() -> bytes:
    file = io.BytesIO()
    rows = [{"audio": {"bytes": b"RIFF" * 9, "path": f"{n}.wav"}, "text": "said", "n": n} for n in range(9)]
    pq.write_table(pa.Table.from_pylist(rows), file, row_group_size=4)
    return file.getvalue()


@cache
def _checkpoint_files() -> tuple[tuple[str, str, bytes], ...]:
    """Returns the files of a small checkpoint in each format: folder, file name and content."""
    weights = tiny_weights()
    small = tiny_tokenizer(n_text=300)
    n_vocab = small.get_vocab_size(with_added_tokens=True)
    rows = {"encoder.embed_positions": 8, "decoder.embed_positions": 8, "decoder.embed_tokens": n_vocab}
    for name, n in rows.items():
        weights[f"model.{name}.weight"] = weights[f"model.{name}.weight"][:n]
    tokenizer = small.to_str().encode()
    generation = {
        **GENERATION_CONFIG,
        "is_multilingual": True,
        "lang_to_id": {"<|en|>": 302},
        "task_to_id": {"transcribe": 402},
        "no_timestamps_token_id": 406,
        "language": "en",
        "forced_decoder_ids": [[1, 302], [2, 402]],
    }
    index = {"weight_map": dict.fromkeys(weights, "model.safetensors")}
    return (
        ("huggingface", "model.safetensors", save(weights)),
        ("huggingface", "model.safetensors.index.json", json.dumps(index).encode()),
        ("huggingface", "config.json", json.dumps(TINY_CONFIG).encode()),
        ("huggingface", "generation_config.json", json.dumps(generation).encode()),
        ("huggingface", "tokenizer.json", tokenizer),
        ("ctranslate2", "model.bin", ctranslate2_bytes(ctranslate2_variables(weights))),
        ("ctranslate2", "config.json", json.dumps({**CTRANSLATE2_CONFIG, "lang_ids": [302]}).encode()),
        ("ctranslate2", "tokenizer.json", tokenizer),
    )
