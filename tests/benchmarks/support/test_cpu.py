from benchmarks.support.cpu import describe_machine, n_cores


def test_describe_machine() -> None:
    assert f", {n_cores()} cores, " in describe_machine()
