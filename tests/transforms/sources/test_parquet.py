from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile as sf

from transforms.core.errors import AudioError, DatasetError
from transforms.core.types import AudioSource, Failure
from transforms.sources.hf_datasets import dataset_work
from transforms.sources.parquet import DatasetShard, parquet_shards, read_shard


def dataset_shards(
    name: str, split: str, audio_column: str | None = None, text_column: str | None = None
) -> list[DatasetShard]:
    work = dataset_work(name, split, audio_column, text_column)
    return [one for one in work if isinstance(one, DatasetShard)]


def wav(value: float = 0.5) -> bytes:
    file = io.BytesIO()
    sf.write(file, np.full(100, value, np.float32), 16_000, format="WAV")
    return file.getvalue()


def write(path: Path, **columns: list[object] | pa.Array) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    for shard in range(2):
        audio: list[object] = [{"bytes": wav(), "path": f"clips/{shard}-{i}.wav"} for i in range(3)]
        write(
            tmp_path / f"data/train-{shard:05}-of-00002.parquet",
            audio=audio, id=[1, 2, 3], sentence=["one", None, "three"],
        )  # fmt: skip
    write(tmp_path / "data/test-00000-of-00001.parquet", audio=audio, sentence=["x"] * 3)
    return tmp_path


def rows(shard: DatasetShard) -> list[AudioSource]:
    return list(read_shard(shard))


def test_local_folder_is_read_split_by_split(corpus: Path) -> None:
    train = dataset_shards(str(corpus), "train")
    assert [Path(shard.path).name for shard in train] == [
        "train-00000-of-00002.parquet", "train-00001-of-00002.parquet",
    ]  # fmt: skip
    sources = rows(pickle.loads(pickle.dumps(train[1])))
    assert [source.payload for source in sources] == [wav()] * 3
    assert [source.reference for source in sources] == ["one", None, "three"]
    assert [source.uri for source in sources] == [
        f"dataset://{corpus}/train/1/{i}/1-{i}.wav" for i in range(3)
    ]
    assert len(dataset_shards(str(corpus), "test")) == 1


def test_ids_of_rows_are_unique_and_stable(corpus: Path) -> None:
    def ids() -> list[str]:
        shards = dataset_shards(str(corpus), "train") + dataset_shards(str(corpus), "test")
        return [source.audio_id for shard in shards for source in rows(shard)]

    assert ids() == ids()
    assert len(set(ids())) == 9


def test_shard_as_text(corpus: Path) -> None:
    assert str(dataset_shards(str(corpus), "train")[1]) == f"dataset://{corpus}/train/1"


def test_single_parquet_file_by_relative_path(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(corpus / "data")
    (shard,) = dataset_shards("test-00000-of-00001.parquet", "whatever")
    assert shard.path == f"{corpus}/data/test-00000-of-00001.parquet"
    assert len(rows(shard)) == 3


def test_columns_of_bytes_and_of_paths(tmp_path: Path) -> None:
    in_bytes = write(tmp_path / "bytes.parquet", audio=[wav(), None], text=["a", "b"])
    sources = rows(dataset_shards(str(in_bytes), "train")[0])
    assert [(source.payload, source.reference) for source in sources] == [(wav(), "a"), (b"", "b")]
    assert sources[0].uri == f"dataset://{in_bytes}/train/0/0"
    paths = write(tmp_path / "paths.parquet", file=["clips/a b.wav", "https://h/b.wav"], transcription=[1, 2])
    sources = rows(dataset_shards(str(paths), "train")[0])
    assert [(source.uri, source.payload, source.reference) for source in sources] == [
        (f"{tmp_path}/clips/a b.wav", None, "1"), ("https://h/b.wav", None, "2"),
    ]  # fmt: skip


def test_rows_without_bytes_are_fetched(tmp_path: Path) -> None:
    audio: list[object] = [{"bytes": None, "path": "a.wav"}, {"bytes": wav(), "path": None}, None]
    sources = rows(dataset_shards(str(write(tmp_path / "d.parquet", audio=audio)), "train")[0])
    assert [(source.uri, source.payload) for source in sources] == [
        (f"{tmp_path}/a.wav", None),
        (f"dataset://{tmp_path}/d.parquet/train/0/1", wav()),
        (f"dataset://{tmp_path}/d.parquet/train/0/2", b""),
    ]


def test_columns_can_be_chosen(tmp_path: Path) -> None:
    path = write(tmp_path / "d.parquet", audio=[wav()], clip=[wav(0.1)], text=["x"], said=["y"])
    (source,) = rows(dataset_shards(str(path), "train", "clip", "said")[0])
    assert (source.payload, source.reference) == (wav(0.1), "y")


def test_error_of_a_missing_name_lists_the_existing_ones(corpus: Path) -> None:
    with pytest.raises(DatasetError, match="no split 'dev'; there are test, train"):
        dataset_shards(str(corpus), "dev")
    with pytest.raises(
        DatasetError, match="no column 'clip'; name one of audio, id, sentence with --audio_c"
    ):
        dataset_shards(str(corpus), "train", audio_column="clip")
    with pytest.raises(DatasetError, match="no column 'said'; name one of audio, id, sentence with --text_c"):
        dataset_shards(str(corpus), "train", text_column="said")
    with pytest.raises(DatasetError, match="the column 'id' holds int64, where audio was expected"):
        dataset_shards(str(corpus), "train", audio_column="id")


def test_no_column_with_a_usual_name_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "d.parquet", clip=[wav()])
    with pytest.raises(
        DatasetError, match=r"no column called audio, .*; name one of clip with --audio_column"
    ):
        dataset_shards(str(path), "train")


def test_decoded_samples_are_recordings(tmp_path: Path) -> None:
    audio: list[object] = [{"path": "a.wav", "array": [0.5] * 100, "sampling_rate": 16_000}, None]
    path = write(tmp_path / "d.parquet", audio=audio, text=["eins", "zwei"])
    first, second = rows(dataset_shards(str(path), "train")[0])
    assert (first.uri, first.reference) == (f"dataset://{path}/train/0/0/a.wav", "eins")
    samples, rate = sf.read(io.BytesIO(first.payload or b""))
    assert (samples.tolist(), rate) == ([0.5] * 100, 16_000)
    assert (second.uri, second.payload) == (f"dataset://{path}/train/0/1", b"")


def test_columns_of_samples_and_of_their_rates(tmp_path: Path) -> None:
    path = write(tmp_path / "d.parquet", array=[[0.5] * 3, [0.1]], sampling_rate=[8000, None])
    good, bad = read_shard(dataset_shards(str(path), "train")[0])
    assert isinstance(good, AudioSource)
    assert sf.info(io.BytesIO(good.payload or b"")).samplerate == 8000
    assert isinstance(bad, Failure)
    assert (bad.uri, bad.stage, bad.kind) == (f"dataset://{path}/train/0/1", "list", "bad_row")
    assert "array holds samples without their rate" in bad.message


def test_categories_and_views_are_read_like_plain_columns(tmp_path: Path) -> None:
    table = pa.table(
        {
            "path": pa.array(["a.wav", "b.wav"]).dictionary_encode(),
            "language": pa.array(["de", "fr"]).dictionary_encode(),
            "sentence": pa.array(["eins", "un"], pa.string_view()),
            "speaker": pa.array(["s1", None], pa.large_string()).dictionary_encode(),
        }
    )
    pq.write_table(table, tmp_path / "d.parquet")
    found = rows(dataset_shards(str(tmp_path / "d.parquet"), "train")[0])
    assert [(one.uri, one.language, one.reference) for one in found] == [
        (f"{tmp_path}/a.wav", "de", "eins"), (f"{tmp_path}/b.wav", "fr", "un"),
    ]  # fmt: skip
    assert [one.metadata for one in found] == [(("speaker", '"s1"'),), (("speaker", "null"),)]
    views = pa.table(
        {"audio": pa.array([wav()], pa.binary_view()), "text": pa.array(["x"], pa.large_string())}
    )
    pq.write_table(views, tmp_path / "v.parquet")
    (source,) = rows(dataset_shards(str(tmp_path / "v.parquet"), "train")[0])
    assert (source.payload, source.reference) == (wav(), "x")


def test_reference_is_no_list(tmp_path: Path) -> None:
    path = write(tmp_path / "d.parquet", audio=[wav()], text=[["a", "b"]], sentence=["a b"])
    (source,) = rows(dataset_shards(str(path), "train")[0])
    assert (source.reference, source.metadata) == ("a b", (("text", '["a", "b"]'),))
    with pytest.raises(DatasetError, match=r"the column 'text' holds list<.*>, and no text"):
        dataset_shards(str(path), "train", text_column="text")


def test_later_file_without_the_column_is_an_error(corpus: Path) -> None:
    shards = dataset_shards(str(corpus), "train")
    write(Path(shards[1].path), sound=[wav()])
    with pytest.raises(AudioError, match="it has no column 'audio', as the first file of its split has"):
        rows(shards[1])


@pytest.mark.parametrize("compression", [None, "zstd"])
@pytest.mark.parametrize("new_writer", [pa.ipc.new_stream, pa.ipc.new_file])
def test_arrow_streams_and_files(tmp_path: Path, new_writer: Any, compression: str | None) -> None:  # noqa: ANN401
    table = pa.table({"audio": [wav(i / 10) for i in range(5)], "text": list("abcde")})
    path = tmp_path / "d.arrow"
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with new_writer(str(path), table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=2)
    (shard,) = dataset_shards(str(path), "train")
    assert [(source.payload, source.reference) for source in rows(shard)] == [
        (wav(i / 10), text) for i, text in enumerate("abcde")
    ]


def test_damaged_arrow_file_yields_rows_before_the_damage(tmp_path: Path) -> None:
    table = pa.table({"audio": [wav(i / 10) for i in range(4)]})
    path = tmp_path / "d.arrow"
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=1)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 7 // 10])
    sources = read_shard(dataset_shards(str(path), "train")[0])
    assert next(sources).payload == wav(0)  # type: ignore[union-attr]
    with pytest.raises(AudioError, match=r"list: corrupt: .*d.arrow cannot be read to its end"):
        list(sources)
    path.write_bytes(b"no arrow file")
    with pytest.raises(DatasetError, match="cannot be read as Arrow"):
        dataset_shards(str(path), "train")


def test_missing_dataset_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(DatasetError, match=r"cannot open the dataset 'nobody/nothing': .*NAME:CONFIG"):
        dataset_shards("nobody/nothing", "train")
    with pytest.raises(DatasetError, match="cannot open the dataset"):
        dataset_shards(str(tmp_path), "train")
    (tmp_path / "a.txt").write_text("so")
    with pytest.raises(DatasetError, match=r"made of other files \(1 \.txt\); .* --input"):
        dataset_shards(str(tmp_path), "train")


def test_other_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "d.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(DatasetError, match="cannot be read as Parquet"):
        dataset_shards(str(tmp_path / "d.parquet"), "train")


class Hub:
    """A stand-in for what `datasets` finds on the Hub.

    Attributes:
        metadata_configs: what the dataset declares, by configuration.
        asked: the datasets and configurations that were asked for.
    """

    name = "parquet"

    def __init__(self, monkeypatch: pytest.MonkeyPatch, metadata_configs: dict[str, Any] | None) -> None:
        self.metadata_configs = metadata_configs
        self.asked: list[tuple[str, str | None]] = []
        self.base_path = "memory://hub"
        self.data_files = {"train": ["memory://hub/train.parquet"], "test": ["memory://hub/x.parquet"]}
        self.data_dir = None
        monkeypatch.setattr("datasets.load.dataset_module_factory", lambda path: self)
        monkeypatch.setattr("datasets.load_dataset_builder", self._load)

    @property
    def builder_configs_parameters(self) -> Hub:
        return self

    @property
    def config(self) -> Hub:
        return self

    def _load(self, path: str, config: str | None) -> Hub:
        self.asked.append((path, config))
        self.name = config or "default"
        return self


def test_configuration_follows_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec.filesystem("memory").pipe("/hub/train.parquet", _parquet_bytes())
    hub = Hub(monkeypatch, {name: {"data_files": "*"} for name in ("default", "de_de")})
    (shard,) = dataset_shards("google/fleurs:de_de", "train")
    dataset_shards("google/fleurs", "train")
    assert hub.asked == [("google/fleurs", "de_de"), ("google/fleurs", None)]
    (source,) = rows(shard)
    assert (source.uri, source.payload) == ("dataset://google/fleurs:de_de/train/0/0", wav())


@pytest.mark.parametrize("declared", [None, {"default": {"data_dir": "."}}])
def test_splits_on_the_hub_that_are_not_declared_are_those_of_the_layout(
    monkeypatch: pytest.MonkeyPatch, declared: dict[str, Any] | None
) -> None:
    hub = Hub(monkeypatch, declared)
    memory = fsspec.filesystem("memory")
    for name in ("a-train.parquet", "b.parquet", ".hidden.parquet"):
        memory.pipe(f"/plain/{name}", _parquet_bytes())
    hub.base_path = "memory://plain"
    assert [shard.path.rpartition("/")[2] for shard in dataset_shards("me/plain", "train")] == [
        "a-train.parquet", "b.parquet",
    ]  # fmt: skip


def _parquet_bytes() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"audio": [wav()]}), file)
    return file.getvalue()


def test_damaged_shard_yields_rows_before_the_damage(tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    table = pa.table({"audio": [wav(i / 100) for i in range(40)]})
    pq.write_table(table, path, row_group_size=10, compression="zstd")
    (shard,) = dataset_shards(str(path), "train")
    offset = pq.read_metadata(path).row_group(2).column(0).data_page_offset
    data = bytearray(path.read_bytes())
    data[offset : offset + 40] = b"\xff" * 40
    path.write_bytes(data)
    sources = read_shard(shard)
    assert [next(sources).payload for _ in range(20)] == [wav(i / 100) for i in range(20)]
    with pytest.raises(AudioError, match=r"list: corrupt: .*d.parquet cannot be read to its end"):
        next(sources)
    path.unlink()
    with pytest.raises(AudioError, match=r"list: not_found: .*d.parquet: no such file"):
        rows(shard)


def test_prompts_and_hot_words_are_columns(tmp_path: Path) -> None:
    audio = [{"bytes": b"a", "path": "a.wav"}, {"bytes": None, "path": "b.wav"}]
    columns = {
        "audio": audio,
        "initial_prompt": ["Dear sir,", None],
        "hotwords": ["", "Caxton"],
        "other": [1, 2],
    }
    pq.write_table(pa.table(columns), tmp_path / "train.parquet")
    (shard,) = dataset_shards(str(tmp_path / "train.parquet"), "train")
    sources = list(read_shard(shard))
    assert [(source.prompt, source.hotwords) for source in sources] == [("Dear sir,", None), (None, "Caxton")]


def test_clips_are_a_column_of_texts_or_of_numbers(tmp_path: Path) -> None:
    audio = [{"bytes": b"a", "path": "a.wav"}] * 3
    for number, values in enumerate((["1,2.5,7", "3,2", None], [[1.0, 2.5, 7.0], [3.0, 2.0], None])):
        path = tmp_path / f"{number}.parquet"
        pq.write_table(pa.table({"audio": audio, "clip_timestamps": values}), path)
        (shard,) = dataset_shards(str(path), "train")
        clips, failure, whole = list(read_shard(shard))
        assert isinstance(clips, AudioSource)
        assert isinstance(whole, AudioSource)
        assert (clips.clip_timestamps, whole.clip_timestamps) == (((1.0, 2.5), (7.0, None)), ())
        assert isinstance(failure, Failure)
        assert "clip_timestamps: the clip from 3 s ends at 2 s" in failure.message


@pytest.mark.parametrize("kind", ["arrow", "parquet"])
def test_names_of_columns_that_are_not_utf8_are_an_error(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"d.{kind}"
    table = pa.table({"audio": [wav()], "zzzz": [1]})
    if kind == "arrow":
        with pa.ipc.new_stream(str(path), table.schema) as writer:
            writer.write_table(table)
    else:
        pq.write_table(table, path, store_schema=False)
    path.write_bytes(path.read_bytes().replace(b"zzzz", b"\xff\xff\xff\xff"))
    with pytest.raises(DatasetError, match=r"cannot be read as (Arrow|Parquet)"):
        dataset_shards(str(path), "train")


def test_arrow_file_at_a_url(tmp_path: Path) -> None:
    table = pa.table({"audio": [wav()], "text": ["eins"]})
    with pa.ipc.new_stream(str(tmp_path / "d.arrow"), table.schema) as writer:
        writer.write_table(table)
    fsspec.filesystem("memory").pipe("/arrow/d.arrow", (tmp_path / "d.arrow").read_bytes())
    (shard,) = parquet_shards("me/corpus", "train", ["memory://arrow/d.arrow"], None, None)
    (source,) = rows(shard)
    assert (source.payload, source.reference) == (wav(), "eins")


def test_values_that_python_does_not_have_cost_no_row(tmp_path: Path) -> None:
    times = pa.array([0, 1000], pa.timestamp("ms", "Foo/Bar"))
    path = write(tmp_path / "a.parquet", audio=[b"x", b"y"], text=[b"f\xfcr", b"so"], time=times)
    (shard,) = dataset_shards(str(path), "train")
    first, second = rows(shard)
    assert (first.reference, second.reference) == ("für", "so")
    assert first.metadata == (
        ("time", '"1970-01-01 00:00:00.000Z"'),
        ("remarks", '["text is not UTF-8: it was read as Windows-1252"]'),
    )
    assert second.metadata == (("time", '"1970-01-01 00:00:01.000Z"'),)
