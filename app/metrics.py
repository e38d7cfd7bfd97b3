"""What this process has done, in numbers for Prometheus: no names, no texts.

A registry of its own for each service. Knows streams by their pieces; no engine and no storage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from app.reply import Stream


class Metrics:
    """Counted and timed; safe to use from any thread."""

    def __init__(self, running: Callable[[], int], adapter_bytes: Callable[[], int]) -> None:
        self._registry = kept = CollectorRegistry()
        self._first = Histogram("imprint_first_piece_seconds", "From a message to the reply's start", registry=kept)
        self._whole = Histogram("imprint_reply_seconds", "From a message to the end of its reply", registry=kept)
        self.fold = Histogram("imprint_fold_seconds", "From a reply's end to its turn remembered", registry=kept)
        self._read = Counter("imprint_prompt_tokens", "Tokens of all prompts", registry=kept)
        self._failed = Counter("imprint_unfinished_replies", "Replies that failed, by kind", ["kind"], registry=kept)
        Gauge("imprint_replies_running", "Replies being written", registry=kept).set_function(running)
        Gauge("imprint_adapter_bytes", "Bytes of adapters at hand", registry=kept).set_function(adapter_bytes)

    def timed(self, stream: Stream, pieces: Iterable[str]) -> Iterator[str]:
        """Pass a reply's pieces on, and note how long its first and its last took."""
        self._read.inc(stream.reading.prompt_tokens)
        for number, piece in enumerate(pieces):
            if not number:
                self._first.observe(perf_counter() - stream.began)
            yield piece
        self._whole.observe(perf_counter() - stream.began)

    def failed(self, error: BaseException) -> None:
        """Note a reply that came to no end."""
        self._failed.labels(type(error).__name__).inc()

    def render(self) -> bytes:
        """All of it in Prometheus's text format."""
        return generate_latest(self._registry)
