"""The verb about sealing: open a database with the master key, and seal what is not sealed yet.

Knows which columns hold what people said or what was made of it.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session, undefer

from storage.database import Database
from storage.rows import lock_user
from storage.tables import ConversationRow, MemoryRow, SnapshotRow, TurnRow, UserRow
from storage.vault import forget_ciphers, seal, seal_text

TEXTS: dict[type[Any], tuple[str, ...]] = {
    TurnRow: ("user_text", "reply_text"),
    ConversationRow: ("title", "instructions"),
}
BLOBS: tuple[type[Any], ...] = (MemoryRow, SnapshotRow)


class Sealing:
    """Opens and seals; safe to use from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def unlock(self) -> int:
        """Seal whoever is not sealed, if there is a master key, and leave nothing plain in SQLite files; say how many.

        What the old master key sealed is the new one's then. Raises Sealed, with nothing changed, unless one of them
        opens what is sealed already. What a crash leaves undone is done by the next call.
        """
        vault = self._database.vault
        with self._database.read() as session:
            keys = [(user.id, user.sealed_key) for user in session.scalars(select(UserRow))]
        renewed = [(user_id, new) for user_id, key in keys if key and (new := vault.renewed(user_id, key))]
        plain = [user_id for user_id, key in keys if key is None and vault.seals]
        if renewed:
            with self._database.write() as session:
                self._database.note_traces(session)
                for user_id, new in renewed:
                    session.execute(update(UserRow).where(UserRow.id == user_id).values(sealed_key=new))
        for user_id in plain:
            with self._database.write() as session:
                self._database.note_traces(session)
                self._seal(session, user_id)
        self._database.erase_noted()
        return len(plain)

    def _seal(self, session: Session, user_id: int) -> None:
        user = lock_user(session, user_id)
        if user.sealed_key is not None:
            return  # another process was faster
        rows = list(_rows_of(session, user_id))
        user.sealed_key = self._database.vault.new_key(user_id)
        session.flush()
        forget_ciphers(session)
        for kind, row in rows:
            for name in TEXTS.get(kind, ()):
                setattr(row, name, seal_text(session, kind, user_id, name, getattr(row, name)))
            if kind in BLOBS:
                row.blob = seal(session, kind, user_id, "blob", row.blob)


def _rows_of(session: Session, user_id: int) -> Iterator[tuple[type[Any], Any]]:
    for kind in (*TEXTS, *BLOBS):
        options = [undefer(MemoryRow.blob)] if kind is MemoryRow else []
        for row in session.scalars(select(kind).where(kind.user_id == user_id).options(*options)):
            yield kind, row
