from benchmarks.support.cpu import describe_machine, n_cores


def test_a_machine_is_described() -> None:
    assert f", {n_cores()} cores, " in describe_machine()
