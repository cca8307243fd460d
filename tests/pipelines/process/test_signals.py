from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from pipelines.process.signals import (
    INTERRUPTED,
    RunStopped,
    exiting_immediately,
    report_interrupt,
    stopping_cleanly,
)
from transforms.core.cancellation import STOP

ENDS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture(autouse=True)
def _restored_handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in ENDS}
    STOP.clear()
    yield
    STOP.clear()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", ENDS)
def test_signal_requests_a_stop_and_raises_run_stopped(number: int) -> None:
    before = [signal.getsignal(one) for one in ENDS]
    with pytest.raises(RunStopped) as stopped, stopping_cleanly():
        signal.raise_signal(number)
    assert STOP.is_set()
    assert stopped.value.signal_number == number
    assert [signal.getsignal(one) for one in ENDS] == before


@pytest.mark.parametrize("number", ENDS)
def test_error_that_beam_raises_for_a_signal_becomes_run_stopped(number: int) -> None:
    def beam() -> None:
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt as error:
            raise RuntimeError("a bundle failed") from error

    with pytest.raises(RunStopped) as stopped, stopping_cleanly():
        beam()
    assert stopped.value.signal_number == number


def test_error_without_a_signal_is_not_changed() -> None:
    with pytest.raises(OSError, match="full"), stopping_cleanly():
        raise OSError("full")


def test_further_signals_of_a_closing_terminal_do_not_interrupt_the_cleanup() -> None:
    cleaned_up = []

    def run() -> None:
        try:
            signal.raise_signal(signal.SIGHUP)
        finally:
            signal.raise_signal(signal.SIGHUP)
            signal.raise_signal(signal.SIGTERM)
            cleaned_up.append(True)

    with pytest.raises(RunStopped), stopping_cleanly():
        run()
    assert cleaned_up


def test_ignored_signals_and_foreign_handlers_are_kept() -> None:
    handled: list[int] = []
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # by nohup
    signal.signal(signal.SIGTERM, lambda number, _: handled.append(number))
    for during in (stopping_cleanly, exiting_immediately):
        with during():
            signal.raise_signal(signal.SIGHUP)
            signal.raise_signal(signal.SIGTERM)
    assert not STOP.is_set()
    assert handled == [signal.SIGTERM] * 2


def test_interrupt_returns_a_shell_exit_code_and_prints_how_to_resume(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert report_interrupt(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == f"{INTERRUPTED}\n"
    assert report_interrupt(RunStopped(signal.SIGTERM)) == 143
    assert capsys.readouterr().err == (
        "Stopped by SIGTERM: the run is not finished. To resume it, give the same command again.\n"
    )
