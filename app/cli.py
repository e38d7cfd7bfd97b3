"""The command line: serve the page (the default), chat in a terminal, rebuild a memory, look into one.

The terminal is one more face of the same service. What goes wrong on purpose is one sentence on stderr, exit code 1.
"""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

from app.backup_commands import backup, restore
from app.bootstrap import running_service, serve
from app.errors import EXPECTED, SettingsError, sentence_of
from app.file_commands import check, export_memory, import_memory
from app.intake import text_from_bytes
from app.key_commands import key
from app.logs import set_up_logging
from app.memory_commands import memory
from app.options import Everywhere, Name, given
from app.people_commands import admin, delete, guard, people
from app.reply import Reading, Reply, Stream, TemporaryChat
from app.service import Service
from app.settings import load_settings
from app.sizes_commands import sizes
from app.wording import facts_of
from storage.records import Manner, User

FAILED, MISUSED = 1, 2

program = typer.Typer(cls=Everywhere, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
program.add_typer(memory, name="memory", cls=Everywhere)
program.add_typer(key, name="key", cls=Everywhere)
memory.command("export")(export_memory)
memory.command("import")(import_memory)
memory.command()(check)
program.command()(people)
program.command()(guard)
program.command()(admin)
program.command()(delete)
program.command()(backup)
program.command()(restore)
program.command()(sizes)


def run() -> None:
    """Run what the arguments ask for, and exit."""
    set_up_logging()
    try:
        program()
    except EXPECTED as error:
        print(sentence_of(error), file=sys.stderr)
        sys.exit(MISUSED if isinstance(error, SettingsError) else FAILED)


@program.callback(invoke_without_command=True)
def default(
    context: typer.Context,
    host: Annotated[str | None, typer.Option(help="Address to serve on. [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port to serve on. [default: 7860]")] = None,
) -> None:
    """Serve a chat that remembers you in its weights."""
    context.ensure_object(dict).update(host=host, port=port)
    if context.invoked_subcommand is None:
        serve(load_settings(**given(context)))


@program.command()
def chat(
    context: typer.Context,
    user: Name,
    temporary: Annotated[bool, typer.Option("--temporary", help="Read the memory, and leave nothing.")] = False,
    strength: Annotated[float, typer.Option(help="How much of the memory is read, from 0 to 1.")] = 1.0,
    instructions: Annotated[str, typer.Option(help="What the model reads before everything else.")] = "",
) -> None:
    """Chat in this terminal: /new starts a new conversation, Ctrl-C stops a reply, Ctrl-D leaves."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(FAILED))
    with running_service(load_settings(**given(context))) as (service, engine):
        owner = service.ensure_user(user)
        print("Loading the model...", file=sys.stderr)
        engine.result()
        service.finish_erasing()  # and no more: a server may be writing replies for others
        _converse(service, owner, temporary, Manner(strength, instructions))


@program.command()
def rebuild(context: typer.Context, user: Name) -> None:
    """Fold all stored turns of a user again, with the model given now."""
    with running_service(load_settings(**given(context))) as (service, _):
        owner = service.load_user(user)
        turns = service.rebuild(owner.id)
        print(f"Folded {turns} turns of {owner.name} anew.")


def _converse(service: Service, owner: User, temporary: bool, manner: Manner) -> None:
    here: TemporaryChat | int | None = TemporaryChat() if temporary else None
    while (line := _ask(owner.name)) is not None:
        try:
            text = text_from_bytes(line)
            if text.strip() == "/new":
                here = TemporaryChat() if temporary else None
            elif isinstance(here, TemporaryChat):
                show_temporarily(service.send_temporarily(owner.id, here, text, manner))
            else:
                reply = service.send(owner.id, here, text, manner)
                here = reply.turn.conversation_id
                _show(reply)
        except EXPECTED as error:
            print(sentence_of(error), file=sys.stderr)


def _ask(name: str) -> bytes | None:
    """One line as bytes, so that what is not UTF-8 is noticed; None at the end."""
    print(f"{name}> ", end="", flush=True)
    try:
        return sys.stdin.buffer.readline() or None
    except KeyboardInterrupt:
        return None


def show_temporarily(stream: Stream) -> None:
    """Print a reply as it comes, and what it read; raise what it failed with."""
    _print_pieces(stream)
    stream.finished.result()
    print(f"\n[not remembered; {', '.join(facts_of(stream.reading))}]")


def _print_pieces(stream: Stream) -> None:
    try:
        for piece in stream:
            print(piece, end="", flush=True)
    except KeyboardInterrupt:
        stream.stop()


def _show(reply: Reply) -> None:
    _print_pieces(reply)
    after = reply.remembered.result()
    reading = Reading(reply.reading.prompt_tokens, after.held)
    print(f"\n[remembered in {after.seconds * 1000:.0f} ms; {', '.join(facts_of(reading))}]")
