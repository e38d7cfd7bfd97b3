"""`python -m benchmarks.start [--repeats N] [--json OUT]`: how soon is the page there, and the first word of a reply?

Starts `launch.py` on a new database each time, as anybody would, and asks from outside until it answers. Wants nothing
else to run beside it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory

import httpx

from app.settings import HOME, Settings, load_settings
from benchmarks.load import PATIENCE, content, free_port, signed_up
from benchmarks.report import commit, finish
from storage.database import file_url

LOOKING_SECONDS = 0.02


def main() -> int:
    """Print both times and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--model", type=Path)
    arguments = parser.parse_args()
    settings = load_settings(model=arguments.model)
    pages, words = zip(*(started(settings) for _ in range(arguments.repeats)), strict=True)
    result = {"repeats": arguments.repeats, "page_seconds": median(pages), "word_seconds": median(words)}
    for name, value in result.items():
        print(f"{name:28}{value:.2f}")
    finish(result | {"slowest_word_seconds": max(words), "commit": commit()}, arguments.json)
    return 0


def started(settings: Settings) -> tuple[float, float]:
    """Seconds from the start of the process to the page, and to the first piece of a first reply."""
    with TemporaryDirectory() as folder:
        url, port = file_url(Path(folder) / "start.db"), free_port()
        (client,) = signed_up(url, 1, Random(0))
        flags = ["--port", str(port), "--database", url, "--model", str(settings.model)]
        began = time.monotonic()
        with subprocess.Popen([sys.executable, "launch.py", *flags], cwd=HOME, stdout=subprocess.DEVNULL) as process:
            try:
                with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as http:
                    page = _until(lambda: _page_is_there(http), process, began)
                    return page, _until(lambda: _replies(http, client.key), process, began)
            finally:
                process.terminate()
                process.wait(PATIENCE)


def _until(happened: Callable[[], bool], process: subprocess.Popen[bytes], began: float) -> float:
    """Seconds since `began` at which it happens; RuntimeError where the process ends before."""
    while process.poll() is None:
        if happened():
            return round(time.monotonic() - began, 3)
        time.sleep(LOOKING_SECONDS)
    raise RuntimeError("The server did not come up; its own message is above.")


def _page_is_there(http: httpx.Client) -> bool:
    try:
        return http.get("/").status_code == 200
    except httpx.TransportError:
        return False


def _replies(http: httpx.Client, key: str) -> bool:
    """Whether a first piece came; before the model is there the server says that it is not."""
    body = {"messages": [{"role": "user", "content": "Hello, I am Ada."}], "stream": True}
    with http.stream("POST", "/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {key}"}) as answer:
        return answer.status_code == 200 and any(content(line) for line in answer.iter_lines())


if __name__ == "__main__":
    sys.exit(main())
