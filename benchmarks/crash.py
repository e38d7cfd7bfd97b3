"""`python -m benchmarks.crash [--kills N] [--model DIR] [--seed S] [--json OUT]`: is anything lost in a crash?

Kills a process that chats through the real service with SIGKILL, at random moments, and starts it again on the same
database. In the end every acknowledged turn has to be stored and folded once, and each state has to be that of its
turns. Knows nothing of power failures: what a killed process has written, the operating system keeps.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from shutil import copytree
from subprocess import PIPE, Popen
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from tqdm import tqdm

from app.bootstrap import running_service
from app.errors import EXPECTED, SettingsError
from app.ledger import messages_of
from app.service import Service
from app.settings import HOME, Settings, load_settings
from benchmarks.report import finish, origin
from core.engine import Engine
from core.state import State
from storage.database import file_url, open_database
from storage.records import Turn
from storage.store import Store

USERS = ("Ada", "Bob", "Eve")
TURNS_A_RUN = 24
REPLY_TOKENS = 4
TOLERANCE = 1e-5
STARTED, READY, DONE, ACKNOWLEDGED = "started", "ready", "done", "acknowledged"
PLACES = ("before append", "recovering", "replying", "replying and folding", "folding", "idle")
Event = dict[str, Any]


class NotRecovered(Exception):
    """A process ended by itself, where it should have come up and gone on until it was killed."""


class Acknowledged(NamedTuple):
    """A turn that `send` has returned: from then on it must not be lost."""

    id: int
    user: str
    text: str


@dataclass(frozen=True)
class Findings:
    """What the store holds against what was acknowledged; `difference` is relative to the state's largest entry."""

    acknowledged: int
    held: int
    lost: int
    twice: int
    waiting: int
    difference: float

    @property
    def are_good(self) -> bool:
        """Whether everything is there once, and nothing else is in the states."""
        return not (self.lost or self.twice or self.waiting) and self.difference <= TOLERANCE


def main() -> int:
    """Print a table and a JSON line; 1 if anything was lost, doubled or damaged or did not come up, 2 if misused."""
    arguments = parse()
    try:
        settings = load_settings(model=arguments.model, device=arguments.device)
        if arguments.child:
            chat(settings, arguments.child, arguments.seed, arguments.run)
            return 0
        result, findings = run(settings, arguments.kills, arguments.seed)
    except SettingsError as error:
        print(f"Crashes cannot be tried: {error}", file=sys.stderr)
        return 2
    except (NotRecovered, *EXPECTED) as error:
        print(f"The database or the model cannot be used: {error}", file=sys.stderr)
        return 1
    finish(result, arguments.json)
    return 0 if findings.are_good else 1


def parse() -> argparse.Namespace:
    """The command line; what is not explained in it is between the two processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--device")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--run", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.kills < 1:
        parser.error(f"--kills is {arguments.kills}; it has to be at least 1.")
    return arguments


def run(settings: Settings, kills: int, seed: int) -> tuple[dict[str, Any], Findings]:
    """Crash `kills` times, start once more, and check."""
    with TemporaryDirectory() as folder:
        database = Path(folder) / "database" / "crash.db"
        database.parent.mkdir()
        acknowledged, hits, left = crash_often(settings, database, kills, seed)
        private = settings.model_copy(update={"database_url": file_url(database)})
        with running_service(private) as (service, loading):
            engine = loading.result()
            service.recover(0)
            findings = check(engine, Store(open_database(private.database_url)), acknowledged)
    _print_table(kills, hits, left, findings)
    counts = {"kills": kills, "seed": seed, "hits": {place: hits[place] for place in PLACES}, "left": dict(left)}
    return counts | asdict(findings) | origin(engine), findings


def crash_often(
    settings: Settings, database: Path, kills: int, seed: int
) -> tuple[list[Acknowledged], Counter[str], Counter[str]]:
    """Start and kill; return what was acknowledged, where the kills hit, and what they left unfinished.

    The first process is killed when it has nothing left to do. How long the last one took that came so far is the
    range that the next moment is drawn from, with a fifth more so that some come late.
    """
    rng, turns = Random(seed), list[Turn]()
    acknowledged, hits, left = list[Acknowledged](), Counter[str](), Counter[str](unanswered=0, unfolded=0)
    anchor, delay, spans = DONE, 0.0, dict[str, float]()
    for number in tqdm(range(kills), unit="kill", disable=None):
        events = killed(_command(settings, database, seed, number), anchor, delay)
        acknowledged += [Acknowledged(**e["turn"]) for e in events if e["event"] == ACKNOWLEDGED]
        before, turns = turns, look(database)
        hits[place_of(before, turns)] += 1
        left["unanswered"] += sum(turn.reply_text is None for turn in turns)
        left["unfolded"] += sum(turn.reply_text is not None and turn.folded_at is None for turn in turns)
        spans = _spans(events) or spans
        # Most of the start is the reading of weights, where nothing can be lost: one kill in five is enough there.
        anchor = STARTED if rng.random() < 0.2 else READY
        delay = rng.uniform(0, 1.2 * spans[anchor])
    return acknowledged, hits, left


def _command(settings: Settings, database: Path, seed: int, number: int) -> list[str]:
    where = ["--child", str(database), "--model", str(Path(settings.model).absolute()), "--device", settings.device]
    return [sys.executable, "-m", "benchmarks.crash", *where, "--seed", str(seed), "--run", str(number)]


def _spans(events: Sequence[Event]) -> dict[str, float]:
    at = {event["event"]: event["at"] for event in events}
    return {STARTED: at[READY] - at[STARTED], READY: at[DONE] - at[READY]} if DONE in at else {}


def killed(command: Sequence[str], anchor: str, delay: float) -> list[Event]:
    """Start a process, kill it `delay` seconds after it has told of the event `anchor`; return all it told."""
    with Popen(command, stdin=PIPE, stdout=PIPE, text=True, cwd=HOME) as child:
        assert child.stdout
        lines: list[str] = []
        try:
            while not lines or json.loads(lines[-1])["event"] != anchor:
                lines.append(child.stdout.readline())
                if not lines[-1]:
                    raise NotRecovered("A process ended before it could be killed; its own message is above.")
            time.sleep(delay)
        finally:
            child.kill()
        lines += child.stdout.readlines()
    if child.returncode != -signal.SIGKILL:
        raise NotRecovered(f"A process ended by itself with exit code {child.returncode}; its own message is above.")
    return [json.loads(line) for line in lines if line.endswith("\n")]


def look(database: Path) -> list[Turn]:
    """All turns, read from a copy, so that the next process finds the files exactly as the crash left them."""
    with TemporaryDirectory() as folder:
        copy = copytree(database.parent, Path(folder) / "copy") / database.name
        opened = open_database(file_url(copy))
        try:
            store = Store(opened)
            owners = [user for user in map(store.find_user, USERS) if user]
            return [turn for user in owners for turn in (*store.held_turns(user.id), *store.unfolded_turns(user.id))]
        finally:
            opened.close()


def place_of(before: Sequence[Turn], after: Sequence[Turn]) -> str:
    """Where a kill hit, as far as the turns stored before and after that process tell."""
    waited = {turn.id for turn in before if turn.folded_at is None}
    waiting = [turn for turn in after if turn.folded_at is None]
    if any(turn.id in waited for turn in waiting):
        return "recovering"
    if not waiting:
        return "idle" if len(after) > len(before) else "before append"
    unanswered = sum(turn.reply_text is None for turn in waiting)
    if not unanswered:
        return "folding"
    return "replying" if unanswered == len(waiting) else "replying and folding"


def check(engine: Engine, store: Store, acknowledged: Sequence[Acknowledged]) -> Findings:
    """Hold what was acknowledged against what is stored, and each state against one folded without a crash.

    Raise StorageError or StateError for a memory that cannot be read.
    """
    counts, difference = Counter[str](), 0.0
    for name in USERS:
        expected = [turn for turn in acknowledged if turn.user == name]
        owner = store.find_user(name)
        held = store.held_turns(owner.id) if owner else []
        memory = store.load_memory(owner.id) if owner else None
        surplus = (memory.header.turns_folded if memory else 0) - len(held)
        texts = {turn.id: turn.user_text for turn in held}
        lost = sum(texts.get(turn.id) != turn.text for turn in expected)
        counts["lost"] += lost + max(0, -surplus)
        counts["twice"] += len(held) - len(set(texts.values())) + max(0, surplus)
        counts["waiting"] += len(store.unfolded_turns(owner.id)) if owner else 0
        counts["held"] += len(held)
        state = State.from_bytes(memory.blob) if memory else engine.empty_state()
        difference = max(difference, _difference(engine, state, held))
    numbers = {name: counts[name] for name in ("held", "lost", "twice", "waiting")}
    return Findings(len(acknowledged), **numbers, difference=difference)


def _difference(engine: Engine, stored: State, turns: Sequence[Turn]) -> float:
    """How far a state is from that of the turns, folded here one after another; relative to the largest entry."""
    engine.check_state(stored)
    state = engine.empty_state()
    for turn in turns:
        state = engine.fold(state, messages_of(turn))
    return float((stored.sums - state.sums).abs().max()) / max(1.0, float(state.sums.abs().max()))


def chat(settings: Settings, database: Path, seed: int, number: int) -> None:
    """The process that is killed: make good what the one before left, send messages, then wait for the end."""
    _tell(STARTED)
    cheap = {"database_url": file_url(database), "reply_tokens": REPLY_TOKENS}
    with running_service(settings.model_copy(update=cheap)) as (service, loading):
        loading.result()
        _tell(READY)
        service.recover(0)
        _converse(service, texts_of(seed, number))
        _tell(DONE)
        sys.stdin.read()  # ends also when whoever started this process is gone


def _converse(service: Service, texts: Iterator[str]) -> None:
    """Send the texts as one user after the other; every second is answered while the turn before it is folded."""
    conversations: dict[str, int] = {}
    for turn, text in enumerate(texts):
        name = USERS[turn % len(USERS)]
        reply = service.send(service.ensure_user(name).id, conversations.get(name), text)
        _tell(ACKNOWLEDGED, turn=Acknowledged(reply.turn.id, name, text)._asdict())
        conversations[name] = reply.turn.conversation_id
        "".join(reply)
        if turn % 2:
            reply.remembered.result()


def texts_of(seed: int, number: int) -> Iterator[str]:
    """What process `number` sends: no text comes twice, whatever the process."""
    rng = Random(f"{seed}-{number}")
    for turn in range(TURNS_A_RUN):
        thing, value = rng.choice(["cat", "boat", "garden", "sister"]), rng.choice(["Oslo", "blue", "Marta", "tea"])
        yield f"Note {number}.{turn}: think of {value} when I speak of my {thing}" + "." * rng.randint(1, 20)


def _tell(event: str, **more: Any) -> None:
    """One line to whoever waits with the kill: out of this process at once, and whole or not at all."""
    print(json.dumps({"event": event, "at": time.monotonic(), **more}), flush=True)


def _print_table(kills: int, hits: Counter[str], left: Counter[str], findings: Findings) -> None:
    rows = [
        ("kills", kills),
        *((f"  hit: {place}", hits[place]) for place in PLACES),
        ("left unanswered", left["unanswered"]),
        ("left unfolded", left["unfolded"]),
        ("turns acknowledged", findings.acknowledged),
        ("turns held", findings.held),
        ("lost", findings.lost),
        ("folded twice", findings.twice),
        ("still waiting", findings.waiting),
        ("largest difference", f"{findings.difference:.1e}"),
    ]
    for label, value in rows:
        print(f"{label:28}{value:>10}")


if __name__ == "__main__":
    sys.exit(main())
