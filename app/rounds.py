"""What a server does now and then, on a thread of its own, whether anybody is there or not."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

log = logging.getLogger(__name__)


@contextmanager
def every(seconds: float, task: Callable[[], object], name: str) -> Iterator[None]:
    """Within, do something every so many seconds; what goes wrong is logged by its kind, and done again next time."""
    over = Event()

    def work() -> None:
        while not over.wait(seconds):
            try:
                task()
            except Exception as error:
                log.warning("%s: %s", name, type(error).__name__)

    thread = Thread(target=work, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
