"""Processes over a database that are killed, and what the kills left: for crash_verbs and crash_migration.

They are forked, which takes no time, so that there can be many; torch has to run on one thread before.
"""

from __future__ import annotations

import json
import os
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from app.service import Service
from app.settings import Settings
from benchmarks import postgres
from core.engine import Engine
from storage.database import file_url, open_database
from storage.records import User
from storage.store import Store

KINDS = ("sqlite", "sealed", "postgresql")
NAME = "Ada"

Verb = dict[str, Any]
Do = Callable[[Verb, Callable[[], object]], None]  # does a verb, and says so before and after


@dataclass
class Findings:
    """What the kills left."""

    verbs: Counter[str] = field(default_factory=Counter)
    cut: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    unclean: int = 0

    def note(self, done: list[Verb], cut: list[Verb], is_right: bool, is_clean: bool) -> None:
        """Count one kill."""
        self.verbs.update(verb["verb"] for verb in done)
        self.cut.update(verb["verb"] for verb in cut)
        self.wrong += not is_right
        self.unclean += not is_clean


@contextmanager
def database_of(kind: str) -> Iterator[str]:
    """The address of an empty database of a kind, which is gone afterwards."""
    if kind == "postgresql":
        if not postgres.find_binaries():
            raise SystemExit(f"There is no PostgreSQL server in {postgres.DEBIAN}; install Debian's package.")
        with postgres.running() as address:
            yield address.format(name="postgres")
        return
    with TemporaryDirectory() as folder:
        yield file_url(Path(folder) / "crash.db")


@contextmanager
def serving(settings: Settings, engine: Engine) -> Iterator[tuple[Service, User]]:
    """A service as a start has it, over an engine that is there already."""
    database, loaded = open_database(settings.database_url, master=settings.master), Future[Engine]()
    loaded.set_result(engine)
    store = Store(database)
    store.unlock()
    service = Service(store, loaded, settings)
    try:
        yield service, service.ensure_user(NAME)
    finally:
        service.close()
        database.close()


def killed(act: Callable[[Do], None], delay: float) -> tuple[list[Verb], list[Verb]]:
    """Fork a process that acts, and kill it after so many seconds; the verbs it did, and the one cut off, if any."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        _live(act, writing)
    os.close(writing)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    with os.fdopen(reading) as pipe:
        lines = [json.loads(line) for line in pipe if line.endswith("\n")]
    _, status = os.waitpid(child, 0)
    if os.WTERMSIG(status) != signal.SIGKILL:
        raise RuntimeError("The process ended by itself; its own message is above.")
    begun, done = ([line for line in lines if line["done"] is one] for one in (False, True))
    return done, begun[len(done) :]


def _live(act: Callable[[Do], None], pipe: int) -> None:
    """The process that is killed, also where it has nothing left to do; it ends by itself only where it fails."""
    try:
        act(partial(_do, pipe))
        signal.pause()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def _do(pipe: int, verb: Verb, act: Callable[[], object]) -> None:
    _tell(pipe, verb | {"done": False})
    act()
    _tell(pipe, verb | {"done": True})


def _tell(pipe: int, verb: Verb) -> None:
    """One line, out of this process at once, and whole or not at all."""
    os.write(pipe, (json.dumps(verb) + "\n").encode())
