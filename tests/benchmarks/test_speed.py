import json
from functools import partial
from pathlib import Path

import pytest

from benchmarks.speed import ratios, table
from benchmarks.support.processes import Measured
from benchmarks.support.recordings import Recording
from benchmarks.support.speed_systems import BATCHED, OURS, SEQUENTIAL, Run, System, n_decoded, parse_run


def run_of(wall_s: float, transcribe_s: float, tree_mb: float = 100.0, outside_s: float | None = None) -> Run:
    return Run(Measured("", wall_s, 1.0, tree_mb, 1, tree_mb), transcribe_s, 10, 20, outside_s)


def system_of(kind: str, name: str) -> System:
    return System(kind, name, partial(pytest.fail, "it was run"))


SYSTEMS = [
    system_of(OURS, "mine"),
    system_of(BATCHED, "b8"),
    system_of(BATCHED, "b16"),
    system_of(SEQUENTIAL, "s"),
]
RUNS = {
    "mine": [
        run_of(3.0, 2.0, 150.0, outside_s=0.5),
        run_of(5.0, 1.0, outside_s=0.25),
        run_of(4.0, 3.0, outside_s=0.5),
    ],
    "b8": [run_of(9.0, 8.0)],
    "b16": [run_of(8.0, 5.0)],
    "s": [run_of(16.0, 12.0, 50.0)],
}


def test_ratios_compare_medians_with_the_best_of_each_kind() -> None:
    assert list(ratios(SYSTEMS, RUNS))[1:] == [
        "| mine | b16 | 2.00 | 2.50 | 2 | 3 | 1.50 |",
        "| mine | s | 4.00 | 6.00 | 3 | 5 | 3.00 |",
    ]


def test_table_has_medians_and_time_outside_the_model(tmp_path: Path) -> None:
    row = list(table(SYSTEMS, RUNS, Recording(tmp_path, 60.0)))[1]
    times = "| mine | 4.00 (3.00-5.00) | 2.00 (1.00-3.00) | 15.0 | 30.0 "
    assert row == f"{times}| 1.0 | 150 | 1 | 10 | 20 | 0.50 (33.3%) |"


def test_output_of_a_rival_is_read_from_its_last_line() -> None:
    printed = {"rows": [{"text": "a b"}, {"text": "c"}], "n_windows": 4, "load_s": 1.0, "transcribe_s": 2.5}
    run = parse_run(Measured(f"noise\n{json.dumps(printed)}\n", 5.0, 4.0, 100.0, 1, 90.0))
    assert (run.transcribe_s, run.n_windows, run.n_words, run.outside_s) == (2.5, 4, 3, None)


def test_second_passes_count_as_windows() -> None:
    assert (
        n_decoded({"counts": {"windows": 10, "remainders": 2, "short_windows_repeated": 0, "pieces": {}}})
        == 12
    )
