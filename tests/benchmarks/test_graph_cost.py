from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.graph_cost import COLUMNS, CORPORA, row_of
from transforms.sources.hf_datasets import dataset_work
from transforms.sources.listing import expand_all
from transforms.sources.work_items import n_recordings, open_work


@pytest.mark.parametrize("source", CORPORA)
def test_corpus_has_the_requested_number_of_recordings(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.graph_cost.IN_FOLDER", 4)
    flag, named = CORPORA[source](tmp_path, 10)
    work = list(expand_all([named])) if flag == "--input" else list(dataset_work(named, "train", None, None))
    assert n_recordings(work) in (10, None)
    ids = {recording.audio_id for one in work for recording in open_work(one)}
    assert len(ids) == 10


def test_run_is_measured_in_its_own_process(tmp_path: Path) -> None:
    named = CORPORA["files"](tmp_path, 12)
    cells = dict(zip(COLUMNS, row_of(12, [*named, "--output", f"{tmp_path}/out"]), strict=True))
    assert cells["recordings"] == "12"
    assert 100 < int(cells["peak, MB"]) < 1000
    assert 200 < int(cells["grouped, bytes a recording"]) < 5000
    assert int(cells["log, bytes a recording"]) > 500
