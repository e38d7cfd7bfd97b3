"""Snapshots: everything kept, copied now and then to a folder that outlives this machine's disk.

The folder may be a bucket that is mounted as one: nothing can be locked there, and what is written arrives later. So
the database never lives there; a copy is made on the local disk, sent under another name, and takes the place of the
one before in one step. The one before is not kept, since it holds what was forgotten in between. Knows no tables.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple

from app.errors import EXPECTED

NAME = "imprint.db"

log = logging.getLogger(__name__)


class Source(NamedTuple):
    """What a snapshot is of: how to copy it, and its version, which any change changes."""

    copy: Callable[[Path], None]
    version: Callable[[], int]


class Snapshots:
    """Writes them to a folder, one at a time; `workshop` is a folder of its own on the local disk."""

    def __init__(self, source: Source, folder: Path, workshop: Path) -> None:
        self._source = source
        self._folder = folder
        self._workshop = workshop
        self._saved: int | None = None

    def save(self) -> bool:
        """Write one if anything has changed since the last; say whether. Raise OSError, or what the copying raises."""
        version = self._source.version()
        if version == self._saved:
            return False
        self._clean()  # a kill may have left a copy there
        try:
            self._workshop.mkdir(mode=0o700)
            self._source.copy(self._workshop / NAME)
            self._send(self._workshop / NAME)
        finally:
            self._clean()
        self._saved = version
        return True

    def attempt(self) -> None:
        """Save, or say in the log why not: the chat goes on without, and the next attempt may succeed."""
        try:
            if self.save():
                log.info("a snapshot was written")
        except (OSError, *EXPECTED) as error:
            log.warning("no snapshot was written to %s: %s", self._folder, error)

    def _clean(self) -> None:
        shutil.rmtree(self._workshop, ignore_errors=True)

    def _send(self, made: Path) -> None:
        """Put a copy in the place of the snapshot before, which stays as it is until the new one is whole."""
        new = self._folder / f"{NAME}.new"
        try:
            new.touch(mode=0o600)  # it holds what everybody said
            with made.open("rb") as local, new.open("wb") as sent:
                shutil.copyfileobj(local, sent)
                sent.flush()
                os.fsync(sent.fileno())
            new.replace(self._folder / NAME)
        finally:
            new.unlink(missing_ok=True)


@contextmanager
def kept_up(snapshots: Snapshots, erased: Event, seconds: float) -> Iterator[None]:
    """Within, a thread writes snapshots: now, every so many seconds, and at once when `erased` is set; then a last one.

    An erasing does not wait for the next round, because until then the folder holds what is forgotten.
    """
    over = Event()

    def work() -> None:
        while not over.is_set():
            snapshots.attempt()
            erased.wait(seconds)
            erased.clear()
        snapshots.attempt()

    thread = Thread(target=work, name="snapshots", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        erased.set()  # wakes the thread
        thread.join()
