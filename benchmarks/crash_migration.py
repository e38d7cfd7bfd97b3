"""Is a database of an older version ever half migrated? The part of `benchmarks/crash_verbs.py` that asks so.

A database of an earlier revision holds turns, and one that waits to be folded. A process opens it, which brings it to
the newest revision and seals it where there is a master key, and is killed on the way. The next start has to find every
turn, fold what waits, and give the state of the ledger bit for bit, also folded again from nothing.
"""

from __future__ import annotations

import time
from contextlib import closing
from functools import partial
from random import Random

from tqdm import tqdm

from app.service import Service
from app.settings import Settings
from benchmarks.killing import Do, Findings, killed, serving
from core.engine import Engine
from storage.database import age_database, open_database
from storage.records import User
from storage.schema import revisions
from storage.store import Store

TOLD = [f"Note {number}: I like {liked}." for number in range(4) for liked in ("tea", "Oslo", "my red cat")]
WAITING = "My boat is called Freya."
MARGIN = 1.5  # of the time that a migration takes: some kills come after it, and a forked process is slower


def killed_migrating(settings: Settings, engine: Engine, kills: int, seed: int, found: Findings) -> None:
    """Age, open, kill, look; `kills` times on one database, from a revision drawn each time."""
    rng, earlier = Random(f"migrate-{seed}"), revisions()[:-1]
    file = _file(settings, engine)
    _age(settings, engine, file, earlier[0])
    started = time.perf_counter()
    _migrate(settings)
    longest = MARGIN * (time.perf_counter() - started)
    _look(settings, engine)
    for _ in tqdm(range(kills), unit="migration", disable=None):
        _age(settings, engine, file, rng.choice(earlier))
        done, cut = killed(partial(_act, settings), rng.uniform(0, longest))
        found.note(done, cut, *_look(settings, engine))


def _act(settings: Settings, do: Do) -> None:
    """The process that is killed."""
    do({"verb": "migrate"}, partial(_migrate, settings))


def _migrate(settings: Settings) -> None:
    """What a start does with a database before it serves anybody."""
    with closing(open_database(settings.database_url, master=settings.master)) as database:
        Store(database).unlock()


def _file(settings: Settings, engine: Engine) -> bytes:
    """A memory that was told everything, as a file."""
    with serving(settings, engine) as (service, user):
        for text in TOLD:
            service.send(user.id, None, text).remembered.result()
        file = service.export_memory(user.id)
        service.delete_account(user.id)
        return file


def _age(settings: Settings, engine: Engine, file: bytes, revision: str) -> None:
    """Fill the database, where nobody is, and have it be of this revision, when nothing was sealed yet."""
    unsealed = settings.model_copy(update={"master_key": None})
    with serving(unsealed, engine) as (service, user):
        service.import_memory(user.id, file)
    with closing(open_database(settings.database_url)) as database:
        store = Store(database)
        store.append_turn(user.id, store.start_conversation(user.id).id, WAITING)
    age_database(settings.database_url, revision)


def _look(settings: Settings, engine: Engine) -> tuple[bool, bool]:
    """Whether the next start finds all turns, and the state that they give; nobody is left in the database then."""
    with serving(settings, engine) as (service, user):
        service.recover(0)
        is_right = [turn.user_text for turn in service.held_turns(user.id)] == [*TOLD, WAITING]
        is_clean = _is_clean(service, user)
        service.delete_account(user.id)
        return is_right, is_clean


def _is_clean(service: Service, user: User) -> bool:
    """Whether the state is that of the ledger, as it was found, and once it is folded again and every turn linked."""
    found = service.verify(user.id)
    service.rebuild(user.id)
    again = service.verify(user.id)
    return found.is_clean and again.is_clean and not again.unlinked
