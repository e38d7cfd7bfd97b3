"""The flags that every command has, and what they come to wherever they stand."""

from __future__ import annotations

from typing import Annotated, Any

import typer

Model = Annotated[
    str | None, typer.Option(help="Folder of the model, or folder or hub name of a base. [default: the one in models/]")
]
Generator = Annotated[str | None, typer.Option(help="Folder or hub name of what remembers, for a base.")]
Database = Annotated[str | None, typer.Option(help="Address of the database. [default: data/imprint.db]")]
Name = Annotated[str, typer.Option("--user", help="Whose memory it is.")]


def given(
    context: typer.Context, model: str | None, database: str | None, generator: str | None = None
) -> dict[str, Any]:
    """The flags, wherever they stand: those after the command win."""
    after = {"model": model, "database_url": database, "generator": generator}
    return context.obj | {name: value for name, value in after.items() if value is not None}
