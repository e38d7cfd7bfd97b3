"""`python launch.py memory export, import, check`: a memory as files, in a terminal.

Faces of the service, no rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from app import wording
from app.bootstrap import begin_loading, running_service
from app.errors import BadParcel, SettingsError
from app.memory_commands import AsJson, opened, print_json
from app.options import Name, given
from app.portable import unwrap
from app.proof import checked
from app.receipts import finding
from app.service import Service
from app.settings import load_settings
from storage.records import User


class Form(StrEnum):
    """What a memory is written as."""

    IMPRINT = "imprint"
    PEFT = "peft"


File = Annotated[Path, typer.Argument(help="The file, NAME.imprint by custom.")]


def export_memory(
    context: typer.Context,
    user: Name,
    path: Annotated[Path, typer.Argument(help="The file to write, NAME.imprint by custom; for peft, a folder.")],
    form: Annotated[
        Form, typer.Option("--format", help="imprint: all of it in a file. peft: a LoRA of the base.")
    ] = Form.IMPRINT,
    texts: Annotated[bool, typer.Option(help="With the texts; without them it can be checked only.")] = True,
    rank: Annotated[int | None, typer.Option(help="For peft: a smaller rank than the memory's own.")] = None,
) -> None:
    """Write the memory, its ledger, texts and proof to one file, or the memory alone as a LoRA of the base."""
    if rank is not None and form is not Form.PEFT:
        raise SettingsError("A --rank is for --format peft alone.")
    if form is Form.PEFT and not texts:
        raise SettingsError("With --format peft no texts are written anyway; leave --no-texts out.")
    with opened(context, user) as (service, owner), _sentence_for(path):
        if form is Form.PEFT:
            print(_lora_written(service, owner, path, rank))
            return
        data = service.export_memory(owner.id, texts)
        path.touch(mode=0o600)  # a new file is its owner's alone
        path.write_bytes(data)
    print(
        f"Wrote {wording.sized(len(data))} to {path}. It holds what {owner.name} said: keep it as you would the chat."
    )


def _lora_written(service: Service, owner: User, folder: Path, rank: int | None) -> str:
    error, persona = service.save_lora(owner.id, folder, rank), service.persona
    base = f"the base with {persona} merged into it" if persona else "the base"
    return f"Wrote {folder}, for {base}. It holds what {owner.name} said. Relative error of the weights: {error:.2g}."


def import_memory(
    context: typer.Context,
    user: Name,
    file: File,
    merge: Annotated[bool, typer.Option("--merge", help="Make one memory of this and what the name has.")] = False,
) -> None:
    """Take in an exported memory, under a name that has none or with --merge."""
    with _sentence_for(file):
        data = file.read_bytes()
    unwrap(data)  # what is no memory waits for no model
    with running_service(load_settings(**given(context))) as (service, _):
        turns = service.import_as(user, data, merge)
    print(f"Took in {wording.counted(turns, 'turn')} for {user}.")


def check(context: typer.Context, file: File, as_json: AsJson = False) -> None:
    """Hold an exported memory and its receipts against themselves; takes the file and the model, and no database."""
    with _sentence_for(file):
        data = file.read_bytes()
    settings = load_settings(**given(context))
    engine = begin_loading(settings).result()
    found = checked(engine, data, settings.message_characters)
    print_json(found.fields()) if as_json else print(*finding(found), sep="\n")


@contextmanager
def _sentence_for(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BadParcel(f"The file {file} cannot be used ({(error.strerror or str(error)).lower()}).") from error
