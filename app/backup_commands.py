"""`python launch.py backup FILE` and `restore FILE`: a copy of everything kept, and the way back.

Both work while nothing of Imprint is loaded; a backup may be made while it runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app import bootstrap
from app.errors import SettingsError
from app.options import given
from app.settings import load_settings

File = Annotated[Path, typer.Argument(help="The file of the backup.")]


def backup(context: typer.Context, file: File) -> None:
    """Write everything kept to a new file, also while Imprint runs."""
    bootstrap.back_up(load_settings(**given(context)), file)
    print(f"Wrote {file}. It holds what everybody said: keep it as you would the chats.")


def restore(context: typer.Context, file: File) -> None:
    """Have a new database hold what a backup does; then `memory verify` says whether each memory is whole."""
    if not file.is_file():
        raise SettingsError(f"There is no file {file} to restore.")
    bootstrap.restore(file, load_settings(**given(context)).database_url)
    print("Restored.")
