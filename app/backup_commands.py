"""`python launch.py backup FILE` and `restore FILE`: a copy of everything kept, and the way back.

Both work while nothing of Imprint is loaded; a backup may be made while it runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.bootstrap import copy_back, copy_database
from app.errors import SettingsError
from app.options import Database, given
from app.settings import load_settings

File = Annotated[Path, typer.Argument(help="The file of the backup.")]


def backup(context: typer.Context, file: File, database: Database = None) -> None:
    """Write everything kept to a new file, also while Imprint runs."""
    copy_database(load_settings(**given(context, None, database)).database_url, file)
    print(f"Wrote {file}. It holds what everybody said: keep it as you would the chats.")


def restore(context: typer.Context, file: File, database: Database = None) -> None:
    """Have a new database hold what a backup does; then `memory verify` says whether each memory is whole."""
    url = load_settings(**given(context, None, database)).database_url
    if not file.is_file():
        raise SettingsError(f"There is no file {file} to restore.")
    if not url.startswith("sqlite:///"):
        raise SettingsError("A backup is restored to a SQLite file; name one with --database sqlite:///folder/file.db.")
    target = Path(url.removeprefix("sqlite:///"))
    copy_back(file, target)
    print(f"Restored to {target}.")
