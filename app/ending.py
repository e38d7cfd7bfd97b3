"""How a server hears that it is to end, and that its end does not take for ever."""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

LONGEST = 90.0  # seconds, as long as systemd waits before it kills
SPARE = 3.0  # seconds


class Ending:
    """What the main thread waits for: SIGINT, SIGTERM, or another thread that has to give up.

    The interpreter writes the signals to a socket, whichever thread the system hands them to. A lock in a handler
    would not do: a thread that waits for one need not hear of a signal, and a second signal may find it held.
    """

    def __init__(self) -> None:
        self._hears, self._tells = socket.socketpair()
        self._tells.setblocking(False)
        _on_signals(lambda: sys.exit(0))  # nothing is in flight yet: what is being imported need not be waited for

    def listen(self) -> None:
        """From now on there is something to finish first: signals are what `wait` waits for."""
        signal.set_wakeup_fd(self._tells.fileno(), warn_on_full_buffer=False)
        _on_signals(lambda: None)

    def tell(self) -> None:
        """Have it end; of any thread, however often."""
        with suppress(BlockingIOError):  # it has been told often enough
            self._tells.send(b"\0")

    def wait(self) -> None:
        """Return when it is to end. LONGEST after that, a process that is still there shows its stacks and is ended."""
        self._hears.recv(1)
        watch = threading.Timer(LONGEST, _break_off)
        watch.daemon = True
        watch.start()
        # Without the interpreter's lock, which the thread above needs: for a thread that never gives it back.
        faulthandler.dump_traceback_later(LONGEST + SPARE, exit=True)


def _break_off() -> None:
    """End with every thread's stack shown. Holding the lock: stacks read while threads run may be read half written."""
    faulthandler.dump_traceback()
    os._exit(1)


def _on_signals(react: Callable[[], object]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: react())
