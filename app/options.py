"""The flags that every command has, before and after its name, and what they come to wherever they stand."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

Model = Annotated[
    str | None, typer.Option(help="Folder of the model, or folder or hub name of a base. [default: the one in models/]")
]
Generator = Annotated[str | None, typer.Option(help="Folder or hub name of what remembers, for a base.")]
Lora = Annotated[str | None, typer.Option(help="Folder or hub name of a LoRA to add to the base.")]
Bits = Annotated[int | None, typer.Option(help="Keep the weights of the base in 8 or 4 bits. [default: 0, whole]")]
Database = Annotated[str | None, typer.Option("--database", help="Address of the database. [default: data/imprint.db]")]
Name = Annotated[str, typer.Option("--user", help="Whose memory it is.")]

flagged = typer.Typer(add_completion=False)


@flagged.command()
def flags(
    model: Model = None,
    generator: Generator = None,
    lora: Lora = None,
    bits: Bits = None,
    database_url: Database = None,
) -> None:
    """Does nothing; its parameters, which are called as the settings are, are those of every command."""


class Everywhere(TyperGroup):
    """A group that takes the flags itself, and has each of its commands take them too."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        for command in (self, *self.commands.values()):
            own = {spelling for parameter in command.params for spelling in parameter.opts}
            for flag in typer.main.get_command(flagged).params:
                if not own & set(flag.opts):
                    flag.expose_value, flag.callback = False, _keep
                    command.params.append(flag)


def _keep(context: Any, flag: Any, value: Any) -> None:
    """Keep a flag where `given` finds it: a command's context has the object of those before it."""
    kept = context.ensure_object(dict)
    if value is not None:
        kept[flag.name] = value


def given(context: typer.Context) -> dict[str, Any]:
    """The flags, wherever they stand: those after the command win."""
    kept: dict[str, Any] = context.ensure_object(dict)
    return kept
