"""`python launch.py memory ...`: the ledger in a terminal, as text or as JSON; what the Memory tab shows, and more.

Faces of the service, no rules. Listing does not wait for the model; what replays or explains does.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer

from app import wording
from app.answers import changes_in_words, readout_in_words
from app.bootstrap import running_service
from app.errors import SettingsError, sentence_of
from app.ledger import Cause
from app.options import Name, given
from app.readout import superseded as find_superseded
from app.receipts import receipt_in_words, verdict
from app.service import Service
from app.settings import load_settings
from core.errors import PromptError
from storage.records import Receipt, Turn, User

memory = typer.Typer(help="See, question, check and forget what is held in a memory.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Number = Annotated[int, typer.Argument(help="Number of the turn, as `memory list` gives it.")]
Moment = Annotated[datetime | None, typer.Option(help="Local time.")]


@contextmanager
def opened(context: typer.Context, user: str) -> Iterator[tuple[Service, User]]:
    """A service, and the person of this name in its database."""
    with running_service(load_settings(**given(context))) as (service, _):
        yield service, service.load_user(user)


@memory.command("list")
def list_turns(
    context: typer.Context,
    user: Name,
    search: Annotated[str, typer.Option(help="Only turns with this text in them.")] = "",
    pinned: Annotated[bool, typer.Option("--pinned", help="Only turns that do not fade.")] = False,
    superseded: Annotated[
        bool, typer.Option("--superseded", help="Only turns that a later one contradicts: asks the weights.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """The turns held, oldest first."""
    with opened(context, user) as (service, owner):
        later = find_superseded(service.read_out(owner.id)) if superseded else {}
        turns = [turn for turn in service.held_turns(owner.id) if wording.holds(turn, search)]
    turns = [turn for turn in turns if (turn.pinned or not pinned) and (turn.id in later or not superseded)]
    if as_json:
        return print_json([asdict(turn) | {"superseded_by": later.get(turn.id)} for turn in turns])
    for turn in turns:
        by = f"  (turn {later[turn.id]} says otherwise)" if turn.id in later else ""
        print(f"{turn.id:>6}  {wording.moment(turn.folded_at)}  {wording.entry(turn)}{by}")


@memory.command()
def show(
    context: typer.Context,
    user: Name,
    turn: Number,
    as_json: AsJson = False,
) -> None:
    """One turn in full, what it adds to each layer, and the turns in memory that its reply came from."""
    with opened(context, user) as (service, owner):
        found, causes = service.load_turn(owner.id, turn), _causes(service, owner, turn)
        without, norms = service.reply_without(owner.id, turn), service.weigh(owner.id, turn)
    if as_json:
        traced = {"causes": [_cause(cause) for cause in causes], "without": without}
        return print_json(asdict(found) | {"norms": norms} | traced)
    print(f"{found.user_text}\n> {found.reply_text or ''}\n{wording.weight_in_words(norms)}\n")
    print(*wording.causes_in_words(causes), f"\n{wording.WITHOUT} {without}", sep="\n")


@memory.command()
def forget(
    context: typer.Context,
    user: Name,
    turn: Annotated[list[int] | None, typer.Option(help="Number of a turn; may be given again.")] = None,
    conversation: Annotated[int | None, typer.Option(help="Number of a conversation.")] = None,
    since: Moment = None,
    until: Moment = None,
    everything: Annotated[bool, typer.Option("--everything", help="All turns and conversations.")] = False,
    as_json: AsJson = False,
) -> None:
    """Forget turns, a conversation, a stretch of time, or everything, for good; print the receipt."""
    chosen = [bool(turn), conversation is not None, bool(since or until), everything]
    if sum(chosen) != 1:
        raise SettingsError("Say what to forget: --turn, --conversation, --since and --until, or --everything.")
    with opened(context, user) as (service, owner):
        receipt = _forgotten(service, owner, turn or [], conversation, since, until)
    _print_receipts([receipt], as_json)


def _forgotten(
    service: Service,
    owner: User,
    turns: list[int],
    conversation: int | None,
    since: datetime | None,
    until: datetime | None,
) -> Receipt:
    if conversation is not None:
        return service.forget_conversation(owner.id, conversation)
    if turns:
        return service.forget_turns(owner.id, turns)
    if since or until:
        return service.forget_turns(owner.id, [t.id for t in service.held_turns(owner.id) if _within(t, since, until)])
    return service.forget_everything(owner.id)


def _within(turn: Turn, since: datetime | None, until: datetime | None) -> bool:
    """Whether a turn was written from `since` on and before `until`."""
    after = since is None or turn.created_at >= since.timestamp()
    return after and (until is None or turn.created_at < until.timestamp())


@memory.command()
def pin(
    context: typer.Context,
    user: Name,
    turn: Number,
    undo: Annotated[bool, typer.Option("--undo", help="Have it fade again.")] = False,
) -> None:
    """Have a turn not fade with those after it."""
    with opened(context, user) as (service, owner):
        service.pin(owner.id, turn, not undo)
    print(f"Turn {turn} {'fades again' if undo else 'does not fade any more'}.")


@memory.command()
def correct(
    context: typer.Context,
    user: Name,
    turn: Number,
    text: Annotated[str, typer.Argument(help="What you should have said.")],
    as_json: AsJson = False,
) -> None:
    """Have a turn say something else, as if it had been said at once; print the receipt for the old words."""
    with opened(context, user) as (service, owner):
        receipt = service.correct(owner.id, turn, text)
    _print_receipts([receipt], as_json)


@memory.command()
def since(
    context: typer.Context,
    user: Name,
    turn: Number,
    as_json: AsJson = False,
) -> None:
    """What the weights are sure of now and were not after a turn, or the other way round."""
    with opened(context, user) as (service, owner):
        changes = service.changes_since(owner.id, turn)
    if as_json:
        return print_json([{"before": one.before.fields(), "after": one.after.fields()} for one in changes])
    print(*changes_in_words(changes), sep="\n")


@memory.command()
def receipts(context: typer.Context, user: Name, as_json: AsJson = False) -> None:
    """What was forgotten, newest first."""
    with opened(context, user) as (service, owner):
        _print_receipts(service.list_receipts(owner.id), as_json)


@memory.command()
def verify(context: typer.Context, user: Name, as_json: AsJson = False) -> None:
    """Replay the ledger and hold it against what is stored; exit code 1 unless the two are the same."""
    with opened(context, user) as (service, owner):
        found = service.verify(owner.id)
    print_json(asdict(found) | {"is_clean": found.is_clean}) if as_json else print(verdict(found))
    if not found.is_clean:
        raise typer.Exit(1)


@memory.command()
def readout(
    context: typer.Context,
    user: Name,
    ask: Annotated[list[str] | None, typer.Option(help="A question of your own; may be given again.")] = None,
    as_json: AsJson = False,
) -> None:
    """What the weights alone answer to a list of questions, or to your own, the surest answer first."""
    with opened(context, user) as (service, owner):
        answers = service.read_out(owner.id, ask or ())
    if as_json:
        return print_json([answer.fields() for answer in answers])
    print(*readout_in_words(answers, own=bool(ask)), sep="\n")


@memory.command()
def stats(context: typer.Context, user: Name, as_json: AsJson = False) -> None:
    """Turns, bytes, model, and the norm of each layer's state."""
    with opened(context, user) as (service, owner):
        view = service.view_memory(owner.id, wait=True)
    numbers = {
        "turns": len(view.turns),
        "bytes": view.nbytes,
        "fingerprint": view.fingerprint,
        "fullness": round(view.fullness, 4),
        "norms": [round(norm, 4) for norm in view.norms],
    }
    if as_json:
        return print_json(numbers)
    for name, value in numbers.items():
        print(f"{name:12}{value}")


def _causes(service: Service, owner: User, turn: int) -> list[Cause]:
    """None where the model cannot tell turns apart."""
    try:
        return service.why(owner.id, turn)
    except PromptError as error:
        print(sentence_of(error), file=sys.stderr)
        return []


def _cause(cause: Cause) -> dict[str, Any]:
    return {"turn": cause.turn.id, "influence": round(cause.influence, 4)}


def _print_receipts(receipts: list[Receipt], as_json: bool) -> None:
    if as_json:
        return print_json([asdict(receipt) for receipt in receipts])
    print(*map(receipt_in_words, receipts), sep="\n")


def print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=1))
