"""Commands of launch.py, each in a process of its own, forked from one that has imported everything already."""

from __future__ import annotations

import multiprocessing
import os
import sys
from io import TextIOWrapper
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60.0
FORKING = multiprocessing.get_context("forkserver")
FORKING.set_forkserver_preload(["launch", "app.cli", "app.bootstrap", "tests.fakes"])


def launch(*arguments: str | Path, lines: bytes = b"", fingerprint: str | None = "fa4e" * 16) -> tuple[int, str, str]:
    """Run launch.py over a fake engine, or without a fingerprint the model's own; return exit code, stdout, stderr."""
    with TemporaryDirectory() as place:
        streams = [Path(place, name) for name in ("in", "out", "err")]
        for stream in streams:
            stream.write_bytes(lines if stream is streams[0] else b"")
        process = FORKING.Process(target=_run, args=(streams, [*map(str, arguments)], dict(os.environ), fingerprint))
        process.start()
        process.join(SECONDS)
        if process.exitcode is None:
            process.kill()
            raise TimeoutError(f"{arguments} did not end within {SECONDS:.0f} seconds.")
        return process.exitcode, streams[1].read_text(), streams[2].read_text()


def one_sentence(stderr: str) -> bool:
    """Whether that, and no traceback, is all that was said."""
    return "Traceback" not in stderr and len(stderr.strip().splitlines()) == 1


def _run(streams: list[Path], arguments: list[str], environment: dict[str, str], fingerprint: str | None) -> None:
    """In the process: launch.py as a shell would start it, but for the engine."""
    for number, stream in enumerate(streams):
        os.dup2(os.open(stream, os.O_RDWR), number)
    sys.stdin, sys.stdout, sys.stderr = (
        TextIOWrapper(open(number, mode, closefd=False), line_buffering=True)  # noqa: SIM115
        for number, mode in enumerate(("rb", "wb", "wb"))
    )
    sys.argv = ["launch.py", *arguments]
    os.environ.clear()
    os.environ.update(environment)
    import launch
    from app import bootstrap
    from tests.fakes import FakeEngine

    if fingerprint:
        bootstrap._load = lambda loading, *_: loading.set_result(FakeEngine(fingerprint=fingerprint))
    launch.run_and_end()
