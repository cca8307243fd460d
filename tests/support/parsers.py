"""Small inputs of every parser except audio decoders, and checks that hold however an input is damaged."""

from __future__ import annotations

import gzip
import io
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import load, save

from model.checkpoint import Checkpoint, CheckpointError, find_checkpoint
from model.formats.adapters import base_name, open_adapter
from model.formats.mapped_file import FormatError
from model.tokens import TokenizerError, tokenizer_of
from tests.support.archive_builders import ARCHIVE_BUILDERS
from tests.support.fuzzing import small_files
from tests.support.ggml_files import ggml_bytes, gguf_bytes, tensor_bytes
from tests.support.tiny_formats import DIMS, openai_weights, save_flax, save_mlx
from tests.support.tiny_model import (
    CTRANSLATE2_CONFIG,
    D_MODEL,
    GENERATION_CONFIG,
    TINY_CONFIG,
    Weights,
    ctranslate2_bytes,
    ctranslate2_variables,
    tiny_tokenizer,
    tiny_weights,
)
from tests.support.torch_files import openai_pt, weights_zip
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
REFERENCES = Path(__file__).parents[1] / "model" / "formats" / "references"
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
            checkpoint = _read_adapter(Path(folder)) if wanted == "adapter" else find_checkpoint(folder)
            for _, weight in checkpoint.weights():
                assert weight.nbytes >= 0
            tokenizer = tokenizer_of(checkpoint)
            tokenizer.decode(tokenizer.encode_text("heard"))
        except (CheckpointError, TokenizerError) as error:
            return _refused(error)
    return "read"


def _read_adapter(folder: Path) -> Checkpoint:
    """Opens an adapter with its base in the same folder: a damaged name of a base is looked for nowhere."""
    base = find_checkpoint(str(folder))
    try:
        base_name(folder)
        merged = open_adapter(folder, base)
    except FormatError as error:
        raise CheckpointError(str(error)) from error
    return replace(
        base, config=merged.config, weight_files=merged.weight_files, read_weights=merged.read_weights
    )


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
        "max_initial_timestamp_index": 50,
        "decoder_start_token_id": 301,
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
        ("ctranslate2", "generation_config.json", json.dumps(generation).encode()),
        ("ctranslate2", "tokenizer.json", tokenizer),
        *((folder, name, data) for folder, files in _further_files(weights) for name, data in files.items()),
    )


def _with_a_wide_head(weights: Weights) -> Weights:
    """Repeats weights, so that a head is 64 wide; the vocabulary is that of `tiny_tokenizer(n_text=300)`."""
    wide = {n: np.tile(w, [2 if size == D_MODEL else 1 for size in w.shape]) for n, w in weights.items()}
    embedding = np.zeros((tiny_tokenizer(n_text=300).get_vocab_size(), 2 * D_MODEL), np.float16)
    return {**wide, "model.decoder.embed_tokens.weight": embedding}  # type: ignore[dict-item]  # fewer bytes


def _further_files(weights: Weights) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yields folders of further formats: their names, and their files."""
    tokenizer = tiny_tokenizer(n_text=300)
    common = {"tokenizer.json": tokenizer.to_str().encode()}
    configured = {**common, "config.json": json.dumps(TINY_CONFIG).encode()}
    dims = {**DIMS, "n_vocab": tokenizer.get_vocab_size()}
    with tempfile.TemporaryDirectory() as name:
        flax = (save_flax(Path(name), weights) / "flax_model.msgpack").read_bytes()
        mlx = (save_mlx(Path(name), weights) / "weights.npz").read_bytes()
    yield "pytorch", {**configured, "pytorch_model.bin": weights_zip(weights)}
    yield "pytorch_legacy", {**configured, "pytorch_model.bin": (REFERENCES / "legacy.bin").read_bytes()}
    yield "flax", {**configured, "flax_model.msgpack": flax}
    yield "openai", {**common, "a.pt": openai_pt(openai_weights(weights), dims)}
    tokens = [bytes([byte]) for byte in range(256)]
    kernel = tensor_bytes("decoder.blocks.0.mlp.0.bias", (2, 256), 14, bytes(2 * 210))
    yield "ggml", {**common, "ggml-a.bin": ggml_bytes(openai_weights(weights), dims, tokens)}
    yield "ggml_quantised", {**common, "ggml-a.bin": ggml_bytes({}, dims, tokens) + kernel}
    heads = {"whisper.encoder.attention.head_count": 1, "whisper.attention.head_count": 2}
    metadata = {"a": [1, 2], "b": ["c", "d"], **heads}
    yield "gguf", {**common, "a.gguf": gguf_bytes(_with_a_wide_head(weights), metadata)}
    yield "mlx", {**common, "weights.npz": mlx, "config.json": json.dumps(dims).encode()}
    folder = REFERENCES / "adapters" / "all"
    adapter = {
        name: (folder / name).read_bytes() for name in ("adapter_config.json", "adapter_model.safetensors")
    }
    config = {**json.loads(adapter["adapter_config.json"]), "base_model_name_or_path": "base"}
    adapter["adapter_config.json"] = json.dumps(config).encode()
    yield "adapter", {**common, **adapter, **_base_of_adapter(tokenizer.get_vocab_size())}


def _base_of_adapter(n_vocab: int) -> dict[str, bytes]:
    """The model that an adapter changes, with the vocabulary of a tokenizer."""
    weights = load((REFERENCES / "model.safetensors").read_bytes())
    name = "model.decoder.embed_tokens.weight"
    weights[name] = np.zeros((n_vocab, weights[name].shape[1]), np.float16)
    start = tiny_tokenizer(n_text=300).token_to_id("<|startoftranscript|>")
    reference = json.loads((REFERENCES / "config.json").read_bytes())
    config = {**reference, "vocab_size": n_vocab, "decoder_start_token_id": start}
    return {"model.safetensors": save(weights), "config.json": json.dumps(config).encode()}
