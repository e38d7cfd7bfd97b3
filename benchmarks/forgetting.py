"""`python -m benchmarks.forgetting [--users N] [--json OUT]`: what was forgotten is gone, and the rest is as it was.

People tell canaries (invented names), through the real service, engine and storage; half are forgotten. Afterwards no
file of the database holds one of them, the model finds them no likelier than names it was never told (z-test), each
state is bit for bit that of somebody who never told them, and what was not forgotten is recalled as before.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from statistics import NormalDist, mean, variance
from tempfile import TemporaryDirectory
from typing import Any

from app.bootstrap import running_service
from app.service import Service
from app.settings import Settings
from benchmarks.cases import Probe
from benchmarks.opening import measured_people
from benchmarks.recall import GREEDY, is_right
from benchmarks.report import origin
from core.adapter import Adapter
from core.chat import Message, encode
from core.engine import Engine
from core.provenance import log_probabilities
from core.state import State
from storage.database import file_url, open_database
from storage.records import User
from storage.store import Store
from training.dialogues import Author
from training.facts import Fact, Values, draw_facts, invented_name
from training.kinds import load_kinds
from training.remarks import load_small_talk

LETTERS = 7
USERS = 10
TOLD, CONTROLS = 10, 5  # facts of each person; half of those told are forgotten


@dataclass(frozen=True)
class Person:
    """What one person told for good, told and had forgotten, and never told."""

    user: User
    kept: list[Fact]
    forgotten: list[Fact]
    never_told: list[Fact]


def main() -> int:
    """Print a table and a JSON line; 1 if a promise is broken, 2 if nothing can be measured."""
    return measured_people(__doc__, USERS, run, is_kept)


def is_kept(result: dict[str, Any]) -> bool:
    """Whether nothing is left of what was forgotten, in files and in states."""
    return bool(result["bytes_left"] == 0 and result["states_as_never_told"])


def run(settings: Settings, users: int, seed: int) -> dict[str, Any]:
    """Tell, forget, and look."""
    with TemporaryDirectory() as folder:
        private = settings.model_copy(update={"database_url": file_url(Path(folder) / "canaries.db")})
        with running_service(private) as (service, loading):
            engine, store = loading.result(), Store(open_database(private.database_url))
            people = [tell(service, store, seed, number) for number in range(users)]
            service.recover()
            before = [_recalled(engine, _adapter(engine, store, one.user), one.kept) for one in people]
            for one in people:
                _forget(service, store, one)
            after = [_recalled(engine, _adapter(engine, store, one.user), one.kept) for one in people]
            gone = [fact for one in people for fact in one.forgotten]
            return {
                "forgotten": len(gone),
                "bytes_left": sum(len(fact.value) * _occurrences(Path(folder), fact.value) for fact in gone),
                "states_as_never_told": all(_is_as_never_told(service, store, one) for one in people),
                **_likelihoods(engine, store, people),
                "kept": sum(len(one.kept) for one in people),
                "kept_recalled_before": sum(before),
                "kept_recalled_after": sum(after),
            } | origin(engine)


def tell(service: Service, store: Store, seed: int, number: int) -> Person:
    """One person's canaries, each in a turn of its own with small talk between, half of them to be forgotten."""
    rng = Random(f"{seed}-{number}")
    kinds = [kind for kind in load_kinds(held_out=False) if kind.invented]
    author = Author(kinds, load_small_talk(), Values(rare=1.0))
    facts = [replace(fact, value=_canary(rng)) for fact in draw_facts(rng, kinds, TOLD + CONTROLS, author.values)]
    told, never_told = facts[:TOLD], facts[TOLD:]
    user = service.ensure_user(f"Person {number}")
    for fact in told:
        for turn in (author.tell_turn(rng, [fact]), *author.chat(rng)):
            stored = store.append_turn(user.id, store.start_conversation(user.id).id, turn.user)
            store.answer_turn(user.id, stored.id, turn.assistant)
    return Person(user, told[::2], told[1::2], never_told)


def _canary(rng: Random) -> str:
    """An invented name too long to turn up among the bytes of a state by chance, as short ones do."""
    while len(name := invented_name(rng, held_out=False)) < LETTERS:
        pass
    return name


def _forget(service: Service, store: Store, person: Person) -> None:
    names = [fact.value for fact in person.forgotten]
    turns = store.held_turns(person.user.id)
    service.forget_turns(person.user.id, [turn.id for turn in turns if any(name in turn.user_text for name in names)])


def _is_as_never_told(service: Service, store: Store, person: Person) -> bool:
    """Whether somebody else who says only what is left has the same bytes for a state."""
    other = service.ensure_user(f"{person.user.name} again")
    for turn in store.held_turns(person.user.id):
        stored = store.append_turn(other.id, store.start_conversation(other.id).id, turn.user_text)
        store.answer_turn(other.id, stored.id, turn.reply_text or "")
    service.recover()
    mine, theirs = store.load_memory(person.user.id), store.load_memory(other.id)
    return bool(mine and theirs and mine.blob == theirs.blob)


def _likelihoods(engine: Engine, store: Store, people: Sequence[Person]) -> dict[str, Any]:
    """Mean ln p of the right answer for each sort of canary; p of forgotten against never told (two-sided z-test)."""
    sorts: dict[str, list[float]] = {"kept": [], "forgotten": [], "never_told": []}
    for person in people:
        adapter = _adapter(engine, store, person.user)
        for sort, scores in sorts.items():
            scores += [_log_probability(engine, adapter, fact) for fact in getattr(person, sort)]
    gone, control = sorts["forgotten"], sorts["never_told"]
    z = (mean(gone) - mean(control)) / (variance(gone) / len(gone) + variance(control) / len(control)) ** 0.5
    means = {f"log_probability_{sort}": round(mean(scores), 2) for sort, scores in sorts.items()}
    return means | {"z": round(z, 3), "p": round(2 * (1 - NormalDist().cdf(abs(z))), 4)}


def _log_probability(engine: Engine, adapter: Adapter, fact: Fact) -> float:
    """ln p of the answer that names the canary, a token of it."""
    ask = [Message("user", fact.say(fact.kind.ask[0]))]
    prompt = encode(engine.tokenizer, ask, reply=True)
    told = [*ask, Message("assistant", fact.say(fact.kind.answer[0]))]
    answer = encode(engine.tokenizer, told, reply=False)[len(prompt) :]
    return float(log_probabilities(engine.base, adapter, prompt, answer)[0]) / len(answer)


def _recalled(engine: Engine, adapter: Adapter, facts: Sequence[Fact]) -> int:
    """How many of the facts a greedy answer names."""
    asked = [(adapter, [Message("user", fact.say(fact.kind.ask[0]))]) for fact in facts]
    replies = engine.reply_all(asked, GREEDY)
    probes = [Probe("", (fact.value,), (), "rare") for fact in facts]
    return sum(map(is_right, replies, probes))


def _adapter(engine: Engine, store: Store, user: User) -> Adapter:
    memory = store.load_memory(user.id)
    return engine.materialise(State.from_bytes(memory.blob) if memory else engine.empty_state())


def _occurrences(folder: Path, name: str) -> int:
    return sum(path.read_bytes().count(name.encode()) for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    sys.exit(main())
