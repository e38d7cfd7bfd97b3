"""One reply on its way: a worker writes its pieces, whoever is in front of the screen takes them.

What was taken is what was shown, and after `stop` exactly that is remembered. Leaving the stream waits for nothing,
because it may happen on an event loop's thread. Knows neither engine nor storage.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Event, Lock
from time import perf_counter
from typing import Any, NamedTuple

from storage.records import Turn


class Held(NamedTuple):
    """What a memory holds: so many turns, in so many bytes, which in a prompt would be so many tokens."""

    turns: int
    nbytes: int
    tokens: int


@dataclass(frozen=True)
class Reading:
    """What the model reads for a person: tokens of this conversation, and the memory."""

    prompt_tokens: int
    held: Held


@dataclass(frozen=True)
class Remembered:
    """What a finished turn left behind: seconds from its last piece to the new adapter, and the memory after it."""

    seconds: float
    held: Held


@dataclass(eq=False)
class TemporaryChat:
    """A conversation that is kept nowhere but here, as pairs of what was said and what was replied.

    It reads the memory as it was after the turn `as_of`, or as it is.
    """

    said: list[tuple[str, str]] = field(default_factory=list)
    as_of: int | None = None
    writing: Future[None] | None = None

    def settled(self) -> list[tuple[str, str]]:
        """What was said, once the reply that is being written has ended: only then its pair is there."""
        if self.writing:
            self.writing.exception()
        return self.said


class Stream:
    """The text of one reply as it comes: iterate once, then ask `finished` whether anything went wrong.

    Where an `earlier` one is answered anew, that stays if nothing comes.
    """

    finished: Future[Any]

    def __init__(self, reading: Reading, earlier: str | None = None) -> None:
        self.reading = reading
        self.is_again, self.earlier = earlier is not None, earlier or ""
        self.began = perf_counter()
        self.stopped = Event()
        self._pieces: SimpleQueue[str | None] = SimpleQueue()
        self._written: list[str] = []
        self._shown: list[str] = []
        self._lock = Lock()

    def __iter__(self) -> Iterator[str]:
        """Pieces of text as they come; leaving early stops the reply."""
        try:
            while (piece := self._pieces.get()) is not None and self._show(piece):
                yield piece
        except GeneratorExit:
            self.stop()
            raise

    def stop(self) -> None:
        """End the reply within a token, and its stream at once; what was shown until now stays.

        Cheap, and harmless when it has ended.
        """
        with self._lock:
            self.stopped.set()
        self._pieces.put(None)

    def write(self, pieces: Iterable[str]) -> None:
        """Hand the engine's pieces over, from the worker's thread."""
        for piece in pieces:
            # A model over bytes can write a NUL, and no database keeps one.
            kept = piece.replace("\0", "\ufffd")
            self._written.append(kept)
            self._pieces.put(kept)

    def end(self) -> str:
        """Tell the reader that no piece follows; return all that was written, or what was shown before a stop."""
        with self._lock:
            text = "".join(self._shown if self.stopped.is_set() else self._written)
        self._pieces.put(None)
        return text

    def _show(self, piece: str) -> bool:
        with self._lock:
            if not self.stopped.is_set():
                self._shown.append(piece)
            return not self.stopped.is_set()


class Reply(Stream):
    """The stream of a turn that is stored: when it has `finished`, `remembered` says what it left behind."""

    remembered: Future[Remembered]

    def __init__(self, turn: Turn, reading: Reading, earlier: str | None = None) -> None:
        super().__init__(reading, earlier)
        self.turn = turn
