from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from pipelines.process.signals import (
    INTERRUPTED,
    RunStopped,
    leaving_at_once,
    stopping_cleanly,
    told_interrupt,
)
from transforms.core.cancellation import STOP

ENDS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in ENDS}
    STOP.clear()
    yield
    STOP.clear()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", ENDS)
def test_a_signal_asks_all_to_stop_and_comes_out_as_itself(number: int) -> None:
    before = [signal.getsignal(one) for one in ENDS]
    with pytest.raises(RunStopped) as stopped, stopping_cleanly():
        signal.raise_signal(number)
    assert STOP.is_set()
    assert stopped.value.signal_number == number
    assert [signal.getsignal(one) for one in ENDS] == before


@pytest.mark.parametrize("number", ENDS)
def test_what_beam_makes_of_a_signal_is_told_as_the_signal(number: int) -> None:
    def beam() -> None:
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt as error:
            raise RuntimeError("a bundle failed") from error

    with pytest.raises(RunStopped) as stopped, stopping_cleanly():
        beam()
    assert stopped.value.signal_number == number


def test_an_error_without_a_signal_stays_what_it_is() -> None:
    with pytest.raises(OSError, match="full"), stopping_cleanly():
        raise OSError("full")


def test_a_terminal_that_says_twice_that_it_closes_does_not_break_off_the_tidying_up() -> None:
    tidied = []

    def run() -> None:
        try:
            signal.raise_signal(signal.SIGHUP)
        finally:
            signal.raise_signal(signal.SIGHUP)
            signal.raise_signal(signal.SIGTERM)
            tidied.append(True)

    with pytest.raises(RunStopped), stopping_cleanly():
        run()
    assert tidied


def test_a_signal_that_is_ignored_or_taken_stays_so() -> None:
    taken: list[int] = []
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # by nohup
    signal.signal(signal.SIGTERM, lambda number, _: taken.append(number))
    for during in (stopping_cleanly, leaving_at_once):
        with during():
            signal.raise_signal(signal.SIGHUP)
            signal.raise_signal(signal.SIGTERM)
    assert not STOP.is_set()
    assert taken == [signal.SIGTERM] * 2


def test_the_exit_code_is_that_of_shells_and_a_sentence_says_how_to_go_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert told_interrupt(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == f"{INTERRUPTED}\n"
    assert told_interrupt(RunStopped(signal.SIGTERM)) == 143
    assert capsys.readouterr().err == (
        "Stopped by SIGTERM: the run is not finished. To go on, give the same command again.\n"
    )
