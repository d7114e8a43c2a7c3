"""Signals that end a run: heard between steps, so that it is saved first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Interrupted(KeyboardInterrupt):
    """A run was stopped by Ctrl-C, SIGTERM or SIGHUP (`signal`), after its last step was saved; the message says how to
    go on."""

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal


class AtOnce(KeyboardInterrupt):
    """Ctrl-C was pressed twice."""


@dataclass
class Stop:
    """Which signal asked the run to stop, if one did. Ctrl-C pressed twice interrupts at once; other signals are
    often sent twice by those who mean it once."""

    asked: int = 0

    def __call__(self, number: int, *args: Any) -> None:
        if self.asked and number == signal.SIGINT:
            raise AtOnce
        self.asked = self.asked or number


@contextmanager
def interrupts() -> Iterator[Stop]:
    """Signals become a question, for as long as a run lasts; left alone in other threads and where they are
    ignored (`nohup`)."""
    stop = Stop()
    before = {each: signal.getsignal(each) for each in SIGNALS}
    main = threading.current_thread() is threading.main_thread()
    heard = [each for each in SIGNALS if main and before[each] not in (signal.SIG_IGN, None)]
    for each in heard:
        signal.signal(each, stop)
    try:
        yield stop
    finally:
        for each in heard:
            signal.signal(each, before[each])
