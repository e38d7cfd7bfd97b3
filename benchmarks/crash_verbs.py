"""`python -m benchmarks.crash_verbs [--kills N] [--on KIND] [--model DIR] [--json OUT]`: is any verb ever half done?

Kills a process with SIGKILL at random moments while it sends, retries, takes back, forgets, pins, corrects, merges a
file into a memory and imports it under a new name; one kill in five comes while it brings an older database to the
newest revision instead (crash_migration.py). After each kill the memory holds what was acknowledged, with the verb that
was cut off done or not done, and a replay of the ledger gives its state bit for bit. benchmarks/crash.py asks the same
of sending alone, with processes started anew. KIND is sqlite, sealed (the same with a master key) or postgresql, whose
server is started for it and goes on living.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import torch
from pydantic import SecretStr
from tqdm import tqdm

from app.service import Service
from app.settings import Settings, load_settings
from benchmarks.crash_migration import killed_migrating
from benchmarks.killing import KINDS, Do, Findings, Verb, database_of, killed, serving
from benchmarks.report import finish, origin
from core.device import Choice
from core.engine import Engine, load_engine
from storage.records import Turn, User
from storage.vault import KEY_BYTES

NEWCOMER, MOST = "Carol", 24  # turns held, about: what is more is forgotten, so that a replay stays short
LONGEST = 15  # turns that could be told from a start to its kill: a slower model's verbs are cut off no more often
MIGRATIONS = 5  # one kill of so many

Held = dict[str, bool]  # by text, whether the turn is pinned; a text of the newcomer's begins with her name
Act = tuple[Verb, Callable[[], object]]


@dataclass(frozen=True)
class Parcel:
    """The file of another memory, and what was said in it by the moment it was said."""

    file: bytes
    said: dict[float, str]


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
    engine, found = load_engine(settings.origin, Choice("cpu")), Findings()
    migrations = arguments.kills // MIGRATIONS
    for kill, kills in ((killed_often, arguments.kills - migrations), (killed_migrating, migrations)):
        with database_of(arguments.on) as url:
            master = SecretStr(os.urandom(KEY_BYTES).hex()) if arguments.on == "sealed" else None
            place = settings.model_copy(update={"database_url": url, "master_key": master})
            kill(place, engine, kills, arguments.seed, found)
    for name in sorted({*found.verbs, *found.cut}):
        print(f"{name:12}{found.verbs[name]:>7} done {found.cut[name]:>5} cut off")
    print(f"{'wrong':12}{found.wrong:>7}\n{'unclean':12}{found.unclean:>7}")
    counts = {"verbs": dict(found.verbs), "cut": dict(found.cut), "wrong": found.wrong, "unclean": found.unclean}
    asked = {"on": arguments.on, "kills": arguments.kills, "seed": arguments.seed}
    finish({**asked, **counts, **origin(engine)}, arguments.json)
    return 1 if found.wrong or found.unclean else 0


def killed_often(settings: Settings, engine: Engine, kills: int, seed: int, found: Findings) -> None:
    """Fork, kill, look; `kills` times on one database."""
    rng, held = Random(seed), Held()
    started = time.perf_counter()
    parcel = _parcel(settings, engine)
    longest = LONGEST * (time.perf_counter() - started) / len(parcel.said)
    for number in tqdm(range(kills), unit="kill", disable=None):
        act = partial(_act, settings, engine, Random(f"{seed}-{number}"), parcel)
        done, cut = killed(act, rng.uniform(0, longest))
        for verb in done:
            held = after(held, verb)
        now, is_clean = _look(settings, engine)
        found.note(done, cut, now in [held, *(after(held, verb) for verb in cut)], is_clean)
        held = {text: pinned for text, pinned in now.items() if not text.startswith(NEWCOMER)}


def _look(settings: Settings, engine: Engine) -> tuple[Held, bool]:
    """What is held at the next start, and whether a replay gives just that; the newcomer is gone then, to come anew."""
    with serving(settings, engine) as (service, user):
        service.recover(0)
        newcomer = service.ensure_user(NEWCOMER)
        held = {turn.user_text: turn.pinned for turn in service.held_turns(user.id)}
        held |= {_of_newcomer(turn.user_text): turn.pinned for turn in service.held_turns(newcomer.id)}
        is_clean = all(service.verify(person.id).is_clean for person in (user, newcomer))
        service.delete_account(newcomer.id)
        return held, is_clean


def _of_newcomer(text: str) -> str:
    return f"{NEWCOMER}: {text}"


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
        case "import":
            now |= {_of_newcomer(text): False for text in verb["texts"]}
    return now


def _act(settings: Settings, engine: Engine, rng: Random, parcel: Parcel, do: Do) -> None:
    """The process that is killed."""
    with serving(settings, engine) as (service, user):
        service.recover(0)
        while True:
            do(*_drawn(service, user, rng, parcel))


def _drawn(service: Service, user: User, rng: Random, parcel: Parcel) -> Act:
    """A verb that makes sense now, and how it is done."""
    turns, talks = service.held_turns(user.id), [talk.id for talk in service.list_conversations(user.id) if talk.turns]
    text = f"Note {rng.getrandbits(60)}: I like {rng.choice(['tea', 'Oslo', 'my red cat', 'old boats'])}."
    if len(turns) < 3 or rng.random() < 0.3:
        talk = rng.choice([None, *talks])
        return {"verb": "send", "text": text}, lambda: service.send(user.id, talk, text).remembered.result()
    one, last = rng.choice(turns), service.load_turns(user.id, talks[0])[-1]
    if len(turns) > MOST:
        # A quarter: to forget more takes so long that nearly every kill would hit it.
        gone = [turn for turn in turns if rng.random() < 0.25 or turn is one]
        ids, texts = [turn.id for turn in gone], [turn.user_text for turn in gone]
        return {"verb": "forget", "texts": texts}, lambda: service.forget_turns(user.id, ids)
    pinned = not one.pinned
    verbs: list[Act] = [
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
    return rng.choice([*verbs, *_arriving(service, user, turns, parcel)])


def _arriving(service: Service, user: User, turns: Sequence[Turn], parcel: Parcel) -> list[Act]:
    """The ways in which the parcel can be taken in now."""
    acts: list[Act] = []
    here, known = {turn.created_at for turn in turns}, {turn.user_text for turn in turns}
    new = [text for moment, text in parcel.said.items() if moment not in here]  # one that was corrected stays so
    if new and not known & set(new):
        merge = partial(service.import_memory, user.id, parcel.file, merge=True)
        acts.append(({"verb": "merge", "texts": new}, merge))
    if all(person.user.name != NEWCOMER for person in service.list_people()):
        acts.append(
            (
                {"verb": "import", "texts": list(parcel.said.values())},
                lambda: service.import_memory(service.ensure_user(NEWCOMER).id, parcel.file),
            )
        )
    return acts


def _parcel(settings: Settings, engine: Engine) -> Parcel:
    with serving(settings, engine) as (service, _):
        other = service.ensure_user("Bob")
        for text in ("I live in Rome.", "My dog is called Rex.", "I play the oboe."):
            service.send(other.id, None, text).remembered.result()
        said = {turn.created_at: turn.user_text for turn in service.held_turns(other.id)}
        return Parcel(service.export_memory(other.id), said)


if __name__ == "__main__":
    sys.exit(main())
