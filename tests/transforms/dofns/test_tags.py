from __future__ import annotations

from transforms.core.metrics import CountingMetrics
from transforms.core.progress import PROGRESS, Tally
from transforms.core.types import Failure
from transforms.dofns import tags
from transforms.dofns.tags import FAILURES, failed

FAILURE = Failure("id", "/a.wav", "decode", "truncated", "cut")


def test_a_failure_is_counted_and_goes_to_its_output(counted: CountingMetrics) -> None:
    output = failed(FAILURE)
    assert (output.tag, output.value) == (FAILURES, FAILURE)
    assert counted.counters == {"failures": 1}
    assert PROGRESS.tally() == Tally(failures=1)


def test_each_output_has_a_name_of_its_own() -> None:
    names = [value for name, value in vars(tags).items() if name.isupper() and isinstance(value, str)]
    assert len(names) == len(set(names)) == 10
