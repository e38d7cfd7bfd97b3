"""`python -m benchmarks.served --server URL [--kind vllm|sglang] [--people N] [--json OUT]`: replies by another server.

A vLLM or SGLang server, started as docs/bases.md says, answers the probes of generated cases, each with the memory of
the person it is about; so does this process. All is greedy, one reply at a time and then many. Says how many are the
same and how fast they come. Exits with 1 where the server still lists a memory in the end.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from app.errors import EXPECTED
from app.settings import load_settings
from benchmarks.cases import Case, Probe, generate_cases
from benchmarks.recall import GREEDY, is_right
from benchmarks.report import finish, origin
from core.adapter import Adapter
from core.chat import Message
from core.checkpoint import load_checkpoint
from core.device import resolve
from core.engine import Engine
from core.served import ServedEngine, Server

Writing = Callable[[], list[tuple[str, float]]]
"""Writes all replies; each with the seconds from when it was asked for."""


@dataclass(frozen=True)
class Asked:
    """A probe, and the memory of the person who asks."""

    probe: Probe
    adapter: Adapter

    @property
    def messages(self) -> list[Message]:
        """The whole prompt: a conversation that begins."""
        return [Message("user", self.probe.ask)]


def main() -> int:
    """Print a table and a JSON line; 2 if the model or the server cannot be used."""
    arguments = parse()
    try:
        settings = load_settings(model=arguments.model, generator=arguments.generator)
        # A server computes one row for a reply, so only what is not guided can be compared.
        checkpoint = replace(load_checkpoint(settings.origin, resolve(settings.choice)), guidance=1.0)
        key = settings.server_key.get_secret_value() if settings.server_key else ""
        server = Server(arguments.server, arguments.kind, settings.server_folder, arguments.at_once, key=key)
        result = run(
            Engine(checkpoint), ServedEngine(checkpoint, server), arguments.people, arguments.seed, server.loras
        )
        result |= seen_in(server)
    except (*EXPECTED, httpx.HTTPError) as error:
        print(f"The server cannot be measured: {error}", file=sys.stderr)
        return 2
    finish(result, arguments.json)
    return 1 if result["left"] else 0


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", required=True, metavar="URL")
    parser.add_argument("--kind", choices=("vllm", "sglang"), default="vllm")
    parser.add_argument("--people", type=int, default=60, help="how many memories, of 1 to 4 facts each")
    parser.add_argument("--at-once", type=int, default=8, help="replies at once: not more LoRAs than the server holds")
    parser.add_argument("--seed", type=int, default=2027)
    parser.add_argument("--model")
    parser.add_argument("--generator")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def run(here: Engine, there: ServedEngine, people: int, seed: int, at_once: int) -> dict[str, Any]:
    """What `figures` says of each way of writing the same replies."""
    asked = [one for case in generate_cases(people, seed) for one in asked_of(here, case)]
    one_by_one(there, asked[:1])  # a server's first reply may wait for what it compiles
    ways: dict[str, Writing] = {
        "here": lambda: one_by_one(here, asked),
        "here, at once": lambda: side_by_side(here, asked, at_once),
        "there": lambda: one_by_one(there, asked),
        "there, at once": lambda: side_by_side(there, asked, at_once),
    }
    expected, rows = list[str](), dict[str, dict[str, float]]()
    for way, write in ways.items():
        began = time.perf_counter()
        written = write()
        rows[way] = figures(asked, written, time.perf_counter() - began, expected)
        expected = expected or [text for text, _ in written]
    _print_table(rows)
    return {"people": people, "seed": seed, "at_once": at_once, "replies": len(asked), "ways": rows} | origin(here)


def asked_of(engine: Engine, case: Case) -> Iterator[Asked]:
    """Every probe of a case, with the memory of what was said before; the replies in it are those of `engine`."""
    state = engine.empty_state()
    for said in (Message("user", text) for texts in case.conversations for text in texts):
        reply = "".join(engine.reply(engine.materialise(state), [said], GREEDY))
        state = engine.fold(state, [said, Message("assistant", reply)])
    adapter = engine.materialise(state)
    return (Asked(probe, adapter) for probe in case.probes)


def one_by_one(engine: Engine, asked: Sequence[Asked]) -> list[tuple[str, float]]:
    """Each when the one before is written."""
    return [_timed(engine, one) for one in asked]


def side_by_side(engine: Engine, asked: Sequence[Asked], at_once: int) -> list[tuple[str, float]]:
    """As many people ask at the same time, each when their reply before is written."""
    with ThreadPoolExecutor(at_once) as people:
        return list(people.map(lambda one: _timed(engine, one), asked))


def _timed(engine: Engine, one: Asked) -> tuple[str, float]:
    began = time.perf_counter()
    text = "".join(engine.reply(one.adapter, one.messages, GREEDY))
    return text, time.perf_counter() - began


def figures(
    asked: Sequence[Asked], written: Sequence[tuple[str, float]], seconds: float, expected: Sequence[str]
) -> dict[str, float]:
    """Median seconds of a reply, replies a second, the share that is right, the share that is as `expected`."""
    texts = [text for text, _ in written]
    right = [is_right(text, one.probe) for text, one in zip(texts, asked, strict=True)]
    same = [text == other for text, other in zip(texts, expected or texts, strict=True)]
    return {
        "median_s": round(median(own for _, own in written), 3),
        "replies_a_s": round(len(texts) / seconds, 1),
        "right": round(sum(right) / len(right), 4),
        "as_here": round(sum(same) / len(same), 4),
    }


def seen_in(server: Server) -> dict[str, Any]:
    """What the server says it is, and how many memories it still lists: what is there besides the base."""
    headers = {"Authorization": f"Bearer {server.key}"} if server.key else {}
    with httpx.Client(base_url=server.url, headers=headers) as client:
        version = client.get("/version")
        models = client.get("/v1/models").raise_for_status().json()["data"]
    name = version.json()["version"] if version.is_success else "of unknown version"
    return {"server": f"{server.kind} {name}", "left": len(models) - 1}


def _print_table(rows: dict[str, dict[str, float]]) -> None:
    columns = next(iter(rows.values()))
    print(f"{'':18}" + "".join(f"{column:>13}" for column in columns))
    for way, row in rows.items():
        print(f"{way:18}" + "".join(f"{value:>13}" for value in row.values()))


if __name__ == "__main__":
    sys.exit(main())
