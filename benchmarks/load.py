"""`python -m benchmarks.load [--clients N] [--minutes M] [--model DIR] [--json OUT]`: many people at once.

Starts the server as anybody would, gives each client a name and a key of its own, and has all of them chat over HTTP
without a pause. Each tells an invented name first; in the end each is asked for it, with an empty prompt. Measured from
outside: the time to the first piece and to the end of every reply, what failed, and the server's memory over time.
"""

from __future__ import annotations

import argparse
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import linear_regression, quantiles
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any

import httpx

from app.accounts import Accounts
from app.settings import HOME, Settings, load_settings
from benchmarks.report import commit, finish
from core.checkpoint import fingerprint
from storage.database import file_url, open_database
from storage.store import Store
from training.facts import invented_name
from training.remarks import load_small_talk

SAMPLE_SECONDS = 2.0
PATIENCE = 120.0


@dataclass
class Client:
    """One person, with what happened to them."""

    name: str
    key: str
    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    replies: list[str] = field(default_factory=list)
    errors: int = 0


def main() -> int:
    """Print a table and a JSON line; 1 if anything failed or anybody was told another's name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--model", type=Path)
    arguments = parser.parse_args()
    settings = load_settings(model=arguments.model)
    with TemporaryDirectory() as folder:
        url = file_url(Path(folder) / "load.db")
        clients = signed_up(url, arguments.clients, Random(arguments.seed))
        with served(settings, url) as (address, process):
            resident = chatted(clients, address, process, arguments.minutes, arguments.seed)
    model = f"{settings.origin.name} {fingerprint(settings.origin.parts())[:12]}"
    result = summed(clients, resident, arguments.minutes) | {"model": model, "commit": commit()}
    for name, value in result.items():
        print(f"{name:28}{value}")
    print(*mixed_up(clients), sep="\n")
    finish(result, arguments.json)
    return 1 if result["errors"] or result["told_anothers_name"] else 0


def signed_up(url: str, count: int, rng: Random) -> list[Client]:
    """So many people in a new database, each with an invented name and a key.

    Short names are passed over: "Then" is one, and any reply may begin with it.
    """
    database = open_database(url)
    try:
        store, names = Store(database), dict.fromkeys(invented_name(rng, held_out=False) for _ in range(5 * count))
        accounts, chosen = Accounts(store, required=False), [name for name in names if len(name) > 5][:count]
        return [Client(name, accounts.issue_key(store.ensure_user(name).id, "load")) for name in chosen]
    finally:
        database.close()


@contextmanager
def served(settings: Settings, url: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The server in a process of its own, ready to answer."""
    port = free_port()
    flags = ["--port", str(port), "--database", url, "--model", str(settings.model)]
    with subprocess.Popen([sys.executable, "launch.py", *flags], cwd=HOME, stdout=subprocess.DEVNULL) as process:
        try:
            address = f"http://127.0.0.1:{port}"
            _await_ready(address, process)
            yield address, process
        finally:
            process.terminate()
            process.wait(PATIENCE)


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await_ready(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{address}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise RuntimeError("The server did not come up; its own message is above.")


def chatted(
    clients: list[Client], address: str, process: subprocess.Popen[bytes], minutes: float, seed: int
) -> list[tuple[float, float]]:
    """Have all of them chat; return the server's resident memory as (seconds, MB)."""
    over, began, resident = Event(), time.monotonic(), list[tuple[float, float]]()
    with ThreadPoolExecutor(len(clients)) as pool:
        under_way = [pool.submit(chat, client, address, Random(f"{seed}-{client.name}"), over) for client in clients]
        while time.monotonic() - began < 60 * minutes and process.poll() is None:
            resident.append((time.monotonic() - began, resident_megabytes(process.pid)))
            time.sleep(SAMPLE_SECONDS)
        over.set()
        for job in under_way:
            job.result()
    return resident


def chat(client: Client, address: str, rng: Random, over: Event) -> None:
    """Tell the name, talk about other things until it is over, and ask for the name."""
    small_talk, head = load_small_talk(), {"Authorization": f"Bearer {client.key}"}
    with httpx.Client(base_url=f"{address}/v1", headers=head, timeout=PATIENCE) as http:
        _say(client, http, f"My name is {client.name}.")
        while not over.is_set():
            _say(client, http, small_talk(rng)[0].user)
        _say(client, http, "What is my name?")


def _say(client: Client, http: httpx.Client, text: str) -> None:
    """Send one message and read its reply as it streams."""
    began, pieces = time.monotonic(), list[str]()
    body = {"messages": [{"role": "user", "content": text}], "stream": True}
    try:
        with http.stream("POST", "/chat/completions", json=body) as answer:
            answer.raise_for_status()
            for line in answer.iter_lines():
                piece = content(line)
                if piece and not any(pieces):
                    client.first.append(time.monotonic() - began)
                pieces.append(piece)
        client.whole.append(time.monotonic() - began)
    except httpx.HTTPError:
        client.errors += 1
    client.replies.append("".join(pieces))


def content(line: str) -> str:
    """What a line of a streamed completion says; "" for one that says nothing."""
    data = line.removeprefix("data: ")
    if data == line or data == "[DONE]":
        return ""
    choices = json.loads(data)["choices"]
    return str(choices[0]["delta"].get("content", "")) if choices else ""


def resident_megabytes(pid: int) -> float:
    """The resident set of a process (Linux)."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def summed(clients: list[Client], resident: list[tuple[float, float]], minutes: float) -> dict[str, Any]:
    """What happened to all of them together; seconds and megabytes."""
    first, whole = ([value for client in clients for value in getattr(client, name)] for name in ("first", "whole"))
    settled = resident[len(resident) // 2 :]  # the first half fills caches
    return {
        "clients": len(clients),
        "minutes": minutes,
        "replies": len(whole),
        "errors": sum(client.errors for client in clients),
        "first_piece_p50": round(percentile(first, 50), 3),
        "first_piece_p95": round(percentile(first, 95), 3),
        "whole_p50": round(percentile(whole, 50), 3),
        "whole_p95": round(percentile(whole, 95), 3),
        "resident_mb": round(resident[-1][1]),
        "resident_mb_a_minute": round(60 * linear_regression(*zip(*settled, strict=True)).slope, 2),
        "recalled": sum(client.name in client.replies[-1] for client in clients),
        "told_anothers_name": len(mixed_up(clients)),
    }


def mixed_up(clients: list[Client]) -> list[str]:
    """The replies in which somebody was told another's name."""
    names = {client.name for client in clients}
    return [reply for client in clients for reply in client.replies if mentions(reply, names - {client.name})]


def percentile(values: list[float], share: int) -> float:
    """The value that `share` of a hundred are below."""
    return quantiles(values, n=100, method="inclusive")[share - 1]


def mentions(reply: str, names: set[str]) -> bool:
    """Whether any of the names is in a reply as a word of its own."""
    return bool(set(re.findall(r"\w+", reply)) & names)


if __name__ == "__main__":
    sys.exit(main())
