from __future__ import annotations

import io
import pickle
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile as sf

from transforms.core.errors import AudioError, DatasetError
from transforms.core.types import AudioSource
from transforms.sources.hf_datasets import dataset_work
from transforms.sources.parquet import DatasetShard, read_shard


def dataset_shards(
    name: str, split: str, audio_column: str | None = None, text_column: str | None = None
) -> list[DatasetShard]:
    work = dataset_work(name, split, audio_column, text_column)
    return [one for one in work if isinstance(one, DatasetShard)]


def wav(value: float = 0.5) -> bytes:
    file = io.BytesIO()
    sf.write(file, np.full(100, value, np.float32), 16_000, format="WAV")
    return file.getvalue()


def write(path: Path, **columns: list[object]) -> Path:
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
    with pytest.raises(DatasetError, match="no split 'dev'; there are train, test"):
        dataset_shards(str(corpus), "dev")
    with pytest.raises(
        DatasetError, match="no column 'clip'; name one of audio, id, sentence with --audio_c"
    ):
        dataset_shards(str(corpus), "train", audio_column="clip")
    with pytest.raises(DatasetError, match="no column 'said'; name one of audio, id, sentence with --text_c"):
        dataset_shards(str(corpus), "train", text_column="said")
    with pytest.raises(DatasetError, match="the column 'id' holds int64, where encoded audio was expected"):
        dataset_shards(str(corpus), "train", audio_column="id")


def test_no_column_with_a_usual_name_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "d.parquet", clip=[wav()])
    with pytest.raises(
        DatasetError, match=r"no column called audio, .*; name one of clip with --audio_column"
    ):
        dataset_shards(str(path), "train")


def test_decoded_samples_are_refused(tmp_path: Path) -> None:
    audio: list[object] = [{"array": [0.1, 0.2], "sampling_rate": 16_000}]
    path = write(tmp_path / "d.parquet", audio=audio)
    with pytest.raises(DatasetError, match="holds struct<array"):
        dataset_shards(str(path), "train")


def test_missing_dataset_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(DatasetError, match=r"cannot open the dataset 'nobody/nothing': .*NAME:CONFIG"):
        dataset_shards("nobody/nothing", "train")
    with pytest.raises(DatasetError, match="cannot open the dataset"):
        dataset_shards(str(tmp_path), "train")
    (tmp_path / "a.txt").write_text("so")
    with pytest.raises(DatasetError, match=r"made of text files; .* --input"):
        dataset_shards(str(tmp_path), "train")


def test_other_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "d.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(DatasetError, match="cannot be read as Parquet"):
        dataset_shards(str(tmp_path / "d.parquet"), "train")


def test_configuration_follows_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec.filesystem("memory").pipe("/hub/train.parquet", _parquet_bytes())
    asked: list[tuple[str, str | None]] = []

    class Config:
        data_files = {"train": ["memory://hub/train.parquet"]}  # noqa: RUF012

    class Builder:
        name = "parquet"
        config = Config()

    def load(path: str, config: str | None) -> Builder:
        asked.append((path, config))
        return Builder()

    monkeypatch.setattr("datasets.load_dataset_builder", load)
    (shard,) = dataset_shards("google/fleurs:de_de", "train")
    dataset_shards("google/fleurs", "train")
    assert asked == [("google/fleurs", "de_de"), ("google/fleurs", None)]
    (source,) = rows(shard)
    assert (source.uri, source.payload) == ("dataset://google/fleurs:de_de/train/0/0", wav())


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
