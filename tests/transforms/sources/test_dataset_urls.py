"""Parquet shards by URL go through the guarded downloader, with its limits."""

from __future__ import annotations

import io
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.downloads import GUARDED
from tests.support.servers import LOCAL, QUICK, Handler, Server, send, serving
from transforms.core.errors import AudioError, DatasetError
from transforms.core.types import AudioSource
from transforms.fetch import public_addresses
from transforms.fetch.policy import FetchPolicy
from transforms.sources.parquet import DatasetShard, parquet_shards, read_shard


def parquet() -> bytes:
    file = io.BytesIO()
    pq.write_table(
        pa.Table.from_pylist([{"audio": {"bytes": b"RIFF", "path": "a.wav"}, "text": "one"}]), file
    )
    return file.getvalue()


def whole(handler: Handler) -> None:
    send(handler, 200, parquet())


@pytest.fixture
def server(server: Server) -> Server:
    server.answer = whole
    return server


def shard_at(url: str) -> DatasetShard:
    return DatasetShard("corpus", "train", 0, url, "audio", "text")


def error_of(url: str, policy: FetchPolicy) -> AudioError:
    with pytest.raises(AudioError) as caught:
        list(read_shard(shard_at(url), policy))
    return caught.value


def test_rows_of_a_remote_dataset_are_read(server: Server) -> None:
    url = f"{server.url}/d.parquet"
    (shard,) = parquet_shards("corpus", "train", [url], None, None, LOCAL)
    (source,) = read_shard(shard, LOCAL)
    assert isinstance(source, AudioSource)
    assert (source.payload, source.reference) == (b"RIFF", "one")


def test_private_host_is_not_connected_to(server: Server) -> None:
    url = f"{server.url}/d.parquet"
    assert error_of(url, GUARDED).kind == "forbidden_host"
    with pytest.raises(DatasetError, match="not a public address"):
        parquet_shards("corpus", "train", [url], None, None, GUARDED)
    assert server.accepted == 0


def test_redirect_to_a_private_host_is_not_followed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    judge = public_addresses.is_public
    monkeypatch.setattr(
        public_addresses, "is_public", lambda address: address == "127.0.0.1" or judge(address)
    )
    with serving(whole, "127.0.0.2") as inside:
        server.answer = lambda handler: send(handler, 302, b"", {"Location": f"{inside.url}/d.parquet"})
        error = error_of(f"{server.url}/d.parquet", GUARDED)
        assert (error.stage, error.kind, error.retryable) == ("list", "forbidden_host", False)
        assert (len(server.requests), inside.accepted) == (1, 0)


def test_size_and_time_limits_apply(server: Server) -> None:
    small = replace(LOCAL, limits=replace(QUICK, bytes_each=100))
    assert error_of(f"{server.url}/d.parquet", small).kind == "too_large"
    server.answer = lambda handler: server.stall()
    impatient = replace(LOCAL, fetch_timeout_s=0.5)
    error = error_of(f"{server.url}/d.parquet", impatient)
    assert (error.kind, error.retryable) == ("timeout", True)


def test_other_file_systems_may_use_public_hosts_only() -> None:
    for read in (
        lambda url: list(read_shard(shard_at(url), GUARDED)),
        lambda url: parquet_shards("corpus", "train", [url], None, None, GUARDED),
    ):
        with pytest.raises((AudioError, DatasetError), match="not a public address"):
            read("sftp://127.0.0.1/d.parquet")
