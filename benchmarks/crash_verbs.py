"""`python -m benchmarks.crash_verbs [--kills N] [--on KIND] [--model DIR] [--json OUT]`: is any verb ever half done?

Kills a process with SIGKILL at random moments while it sends, retries, takes back, forgets, pins, corrects and merges.
After each kill the memory holds what was acknowledged, with the verb that was cut off done or not done, and a replay of
the ledger gives its state bit for bit. benchmarks/crash.py asks the same of sending alone, with processes started anew;
here they are forked, which takes no time, so that there can be many. KIND is sqlite, sealed (the same with a master
key) or postgresql, whose server is started for it and goes on living.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import torch
from pydantic import SecretStr
from tqdm import tqdm

from app.service import Service
from app.settings import Settings, load_settings
from benchmarks import postgres
from benchmarks.report import finish, origin
from core.device import Choice
from core.engine import Engine, load_engine
from storage.database import file_url, open_database
from storage.records import User
from storage.store import Store
from storage.vault import KEY_BYTES

KINDS = ("sqlite", "sealed", "postgresql")
NAME, MOST = "Ada", 24  # turns held, about: what is more is forgotten, so that a replay stays short
LONGEST = 1.2  # seconds from a start to its kill

Held = dict[str, bool]  # by text, whether the turn is pinned
Verb = dict[str, Any]


@dataclass(frozen=True)
class Parcel:
    """The file of another memory, and what was said in it by the moment it was said."""

    file: bytes
    said: dict[float, str]


@dataclass
class Findings:
    """What the kills left."""

    verbs: Counter[str]
    cut: Counter[str]
    wrong: int = 0
    unclean: int = 0


def main() -> int:
    """Print what was found and a JSON line; 1 if anything was lost, came back, or was half done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--on", choices=KINDS, default=KINDS[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--model", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # a process that has started threads cannot be forked safely
    settings = load_settings(model=arguments.model, device="cpu").model_copy(update={"reply_tokens": 4})
    engine = load_engine(settings.origin, Choice("cpu"))
    with database_of(arguments.on) as url:
        master = SecretStr(os.urandom(KEY_BYTES).hex()) if arguments.on == "sealed" else None
        place = settings.model_copy(update={"database_url": url, "master_key": master})
        found = killed_often(place, engine, arguments.kills, arguments.seed)
    for name, count in sorted(found.verbs.items()):
        print(f"{name:12}{count:>7} done {found.cut[name]:>5} cut off")
    print(f"{'wrong':12}{found.wrong:>7}\n{'unclean':12}{found.unclean:>7}")
    counts = {"verbs": dict(found.verbs), "cut": dict(found.cut), "wrong": found.wrong, "unclean": found.unclean}
    asked = {"on": arguments.on, "kills": arguments.kills, "seed": arguments.seed}
    finish({**asked, **counts, **origin(engine)}, arguments.json)
    return 1 if found.wrong or found.unclean else 0


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


def killed_often(settings: Settings, engine: Engine, kills: int, seed: int) -> Findings:
    """Fork, kill, look; `kills` times on one database."""
    rng, found, held = Random(seed), Findings(Counter(), Counter()), Held()
    parcel = _parcel(settings, engine)
    for number in tqdm(range(kills), unit="kill", disable=None):
        begun, done = _killed(settings, engine, Random(f"{seed}-{number}"), parcel, rng.uniform(0, LONGEST))
        found.verbs.update(verb["verb"] for verb in done)
        cut = begun[len(done) :]
        found.cut.update(verb["verb"] for verb in cut)
        for verb in done:
            held = after(held, verb)
        with serving(settings, engine) as (service, user):
            service.recover()
            now = {turn.user_text: turn.pinned for turn in service.held_turns(user.id)}
            possible = [held, *(after(held, verb) for verb in cut)]
            found.wrong += now not in possible
            found.unclean += not service.verify(user.id).is_clean
        held = now
    return found


def after(held: Held, verb: Verb) -> Held:
    """What is held once a verb is done."""
    now = dict(held)
    match verb["verb"]:
        case "send" | "retry":
            now.setdefault(verb["text"], False)
        case "forget" | "take back":
            now = {text: pinned for text, pinned in now.items() if text not in verb["texts"]}
        case "pin":
            now[verb["text"]] = verb["pinned"]
        case "correct":
            now[verb["new"]] = now.pop(verb["text"], False)
        case "merge":
            now |= {text: now.get(text, False) for text in verb["texts"]}
    return now


def _killed(
    settings: Settings, engine: Engine, rng: Random, parcel: Parcel, delay: float
) -> tuple[list[Verb], list[Verb]]:
    """Fork a process that does one verb after the other, and kill it; the verbs begun, and those of them done."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        try:
            _act(settings, engine, rng, parcel, writing)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(writing)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    with os.fdopen(reading) as pipe:
        lines = [json.loads(line) for line in pipe if line.endswith("\n")]
    _, status = os.waitpid(child, 0)
    if os.WTERMSIG(status) != signal.SIGKILL:
        raise RuntimeError("The process ended by itself; its own message is above.")
    return [line for line in lines if not line["done"]], [line for line in lines if line["done"]]


def _act(settings: Settings, engine: Engine, rng: Random, parcel: Parcel, pipe: int) -> None:
    """The process that is killed."""
    with serving(settings, engine) as (service, user):
        service.recover()
        while True:
            verb, act = _drawn(service, user, rng, parcel)
            _tell(pipe, verb | {"done": False})
            act()
            _tell(pipe, verb | {"done": True})


def _drawn(service: Service, user: User, rng: Random, parcel: Parcel) -> tuple[Verb, Callable[[], object]]:
    """A verb that makes sense now, and how it is done."""
    turns, talks = service.held_turns(user.id), [talk.id for talk in service.list_conversations(user.id) if talk.turns]
    text = f"Note {rng.getrandbits(60)}: I like {rng.choice(['tea', 'Oslo', 'my red cat', 'old boats'])}."
    if len(turns) < 3 or rng.random() < 0.3:
        talk = rng.choice([None, *talks])
        return {"verb": "send", "text": text}, lambda: service.send(user.id, talk, text).remembered.result()
    one, last = rng.choice(turns), service.load_turns(user.id, talks[0])[-1]
    if len(turns) > MOST:
        gone = [turn for turn in turns if rng.random() < 0.6 or turn is one]
        ids, texts = [turn.id for turn in gone], [turn.user_text for turn in gone]
        return {"verb": "forget", "texts": texts}, lambda: service.forget_turns(user.id, ids)
    pinned = not one.pinned
    verbs: list[tuple[Verb, Callable[[], object]]] = [
        ({"verb": "retry", "text": last.user_text}, lambda: service.retry(user.id, talks[0]).remembered.result()),
        ({"verb": "take back", "texts": [last.user_text]}, lambda: service.take_back(user.id, talks[0])),
        ({"verb": "forget", "texts": [one.user_text]}, lambda: service.forget_turns(user.id, [one.id])),
        (
            {"verb": "pin", "text": one.user_text, "pinned": pinned},
            lambda: service.pin(user.id, one.id, pinned),
        ),
        (
            {"verb": "correct", "text": one.user_text, "new": text},
            lambda: service.correct(user.id, one.id, text),
        ),
    ]
    here, known = {turn.created_at for turn in turns}, {turn.user_text for turn in turns}
    new = [text for moment, text in parcel.said.items() if moment not in here]  # one that was corrected stays so
    if new and not known & set(new):
        merge = partial(service.import_memory, NAME, parcel.file, merge=True)
        verbs.append(({"verb": "merge", "texts": new}, merge))
    return rng.choice(verbs)


def _parcel(settings: Settings, engine: Engine) -> Parcel:
    with serving(settings, engine) as (service, _):
        other = service.ensure_user("Bob")
        for text in ("I live in Rome.", "My dog is called Rex.", "I play the oboe."):
            service.send(other.id, None, text).remembered.result()
        said = {turn.created_at: turn.user_text for turn in service.held_turns(other.id)}
        return Parcel(service.export_memory(other.id), said)


@contextmanager
def serving(settings: Settings, engine: Engine) -> Iterator[tuple[Service, User]]:
    """A service over an engine that is there already."""
    database, loaded = open_database(settings.database_url, master=settings.master), Future[Engine]()
    loaded.set_result(engine)
    service = Service(Store(database), loaded, settings)
    try:
        yield service, service.ensure_user(NAME)
    finally:
        service.close()
        database.close()


def _tell(pipe: int, verb: Verb) -> None:
    """One line, out of this process at once, and whole or not at all."""
    os.write(pipe, (json.dumps(verb) + "\n").encode())


if __name__ == "__main__":
    sys.exit(main())
