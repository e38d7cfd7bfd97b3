"""The verbs about people as such: find them, add them, say how much is kept of each, and delete one with all of it.

Knows sizes, and nothing of what anybody said.
"""

import time
from typing import Literal

from sqlalchemy import delete, exists, func, select
from sqlalchemy.exc import IntegrityError

from storage.database import Database
from storage.errors import InvalidName
from storage.records import GUEST, HUB, Kept, Person, User
from storage.rows import lock_user
from storage.tables import ConversationRow, KeyRow, MemoryRow, SessionRow, SnapshotRow, TurnRow, UserRow
from storage.texts import clean_name

GUEST_SECONDS = 3 * 86_400.0


class People:
    """Keeps and deletes them; safe to use from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ensure_user(self, name: str) -> User:
        """Return the user of this name, a new one if there is none. Raises InvalidName."""
        return self.find_user(name) or self._add_user(clean_name(name))

    def find_user(self, name: str) -> User | None:
        """Raises InvalidName for a name that nobody can have."""
        with self._database.read() as session:
            user = session.scalar(select(UserRow).where(UserRow.name == clean_name(name)))
            return user.record() if user else None

    def ensure_hub_user(self, subject: str, name: str) -> User:
        """Return whom another site knows by this subject; a new user, named like this if nobody is, if there is none.

        Raises InvalidName.
        """
        if known := self._find_subject(subject):
            return known
        for free in (clean_name(name), clean_name(f"{name} {subject}")):
            self._add_user(free, subject)
            if added := self._find_subject(subject):
                return added
        raise InvalidName(f"Somebody else is named {free!r} here; the operator has to delete that name first.")

    def _find_subject(self, subject: str) -> User | None:
        with self._database.read() as session:
            user = session.scalar(select(UserRow).where(UserRow.subject == subject))
            return user.record() if user else None

    def _add_user(self, name: str, subject: str | None = None) -> User:
        with self._database.write() as session:
            try:
                with session.begin_nested():
                    user = UserRow(name=name, created_at=time.time(), subject=subject, secret=HUB if subject else None)
                    session.add(user)
                    session.flush()
                    user.sealed_key = self._database.vault.new_key(user.id)
            except IntegrityError:
                pass  # Another process has added the same name since we looked.
            return session.scalars(select(UserRow).where(UserRow.name == name)).one().record()

    def list_people(self) -> list[Person]:
        """Everybody, by name."""
        turns = (
            select(TurnRow.user_id, func.count().label("turns"), func.max(TurnRow.created_at).label("at"))
            .group_by(TurnRow.user_id)
            .subquery()
        )
        people = (
            select(UserRow, turns.c.turns, turns.c.at, func.length(MemoryRow.blob))
            .outerjoin(turns, turns.c.user_id == UserRow.id)
            .outerjoin(MemoryRow, MemoryRow.user_id == UserRow.id)
            .order_by(UserRow.name)
        )
        with self._database.read() as session:
            return [
                Person(user.record(), count or 0, size or 0, last, _opens_with(user.secret))
                for user, count, last, size in session.execute(people)
            ]

    def lost_guests(self) -> list[int]:
        """The guests of some days whose sessions are all over, and who have no key: nothing lets them in again."""
        session_left = exists().where(SessionRow.user_id == UserRow.id, SessionRow.expires_at > time.time())
        key_left = exists().where(KeyRow.user_id == UserRow.id)
        old = UserRow.created_at < time.time() - GUEST_SECONDS  # a new one has no session for a moment
        with self._database.read() as session:
            return list(
                session.scalars(select(UserRow.id).where(UserRow.secret == GUEST, old, ~session_left, ~key_left))
            )

    def kept_of(self, user_id: int) -> Kept:
        """How much is kept of one person; nothing of somebody who is not there."""
        said = func.sum(func.length(TurnRow.user_text) + func.length(func.coalesce(TurnRow.reply_text, "")))
        sizes = (
            select(said).where(TurnRow.user_id == user_id),
            select(func.sum(func.length(MemoryRow.blob))).where(MemoryRow.user_id == user_id),
            select(func.sum(func.length(SnapshotRow.blob))).where(SnapshotRow.user_id == user_id),
        )
        talks = select(func.count()).select_from(ConversationRow).where(ConversationRow.user_id == user_id)
        with self._database.read() as session:
            size = sum(session.scalar(size) or 0 for size in sizes)
            return Kept(session.scalar(talks) or 0, size)

    def set_admin(self, user_id: int, is_admin: bool) -> None:
        """Have a person see how much is kept of everybody and delete them, or no longer. Raises NotFound."""
        with self._database.write() as session:
            lock_user(session, user_id).is_admin = is_admin

    def delete_user(self, user_id: int) -> None:
        """Delete a person and all that is kept, receipts, keys and sessions too; `erase_deleted` cleans the files.

        Raises NotFound.
        """
        with self._database.write() as session:
            lock_user(session, user_id)
            self._database.note_traces(session)
            session.execute(delete(UserRow).where(UserRow.id == user_id))  # all other tables cascade

    def erase_deleted(self) -> None:
        """Leave nothing in SQLite's files of those who were deleted: once for many, as it writes them anew.

        Raises DatabaseUnavailable when another process keeps the files from being cleaned: the next start does it then.
        """
        self._database.erase_noted()


def _opens_with(secret: str | None) -> Literal["name", "passphrase", "guest", "hub"]:
    if secret is None:
        return "name"
    return "guest" if secret == GUEST else "hub" if secret == HUB else "passphrase"
