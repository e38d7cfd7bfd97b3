"""The verbs about what lets somebody in: keys, with which programs speak for one person, sessions of browsers, and
passphrases of names.

Knows no secrets, only their digests and hashes: a lost database lets nobody in.
"""

import time

from sqlalchemy import delete, or_, select, update
from sqlalchemy.orm import Session

from storage.database import Database
from storage.errors import NotFound
from storage.records import GUEST, Key, User
from storage.rows import lock_user
from storage.tables import KeyRow, SessionRow, UserRow
from storage.texts import clean_name


class Credentials:
    """Keeps and finds them; safe to use from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_key(self, user_id: int, digest: str, label: str) -> Key:
        """Keep a key's SHA-256 under a name for people. Raises NotFound or InvalidName."""
        label = clean_name(label)
        with self._database.write() as session:
            lock_user(session, user_id)
            row = KeyRow(user_id=user_id, digest=digest, label=label, created_at=time.time())
            session.add(row)
            session.flush()
            return row.record()

    def list_keys(self, user_id: int) -> list[Key]:
        """Oldest first."""
        with self._database.read() as session:
            rows = session.scalars(select(KeyRow).where(KeyRow.user_id == user_id).order_by(KeyRow.id))
            return [row.record() for row in rows]

    def revoke_key(self, user_id: int, key_id: int) -> None:
        """Have a key open nothing from now on. Raises NotFound, also for a key of another user."""
        with self._database.write() as session:
            lock_user(session, user_id)
            own = delete(KeyRow).where(KeyRow.id == key_id, KeyRow.user_id == user_id).returning(KeyRow.id)
            if session.scalar(own) is None:
                raise NotFound(f"There is no key {key_id} for this user.")

    def owner_of_key(self, digest: str) -> User | None:
        """Whose key has this SHA-256."""
        with self._database.read() as session:
            user = session.scalar(select(UserRow).join(KeyRow).where(KeyRow.digest == digest))
            return user.record() if user else None

    def open_session(self, user_id: int, digest: str, expires_at: float, secret: str | None) -> bool:
        """Keep the SHA-256 of what lets a browser come back, until a time; those that are over go.

        False, and nothing is kept, unless `secret` is what guards the name. Raises NotFound.
        """
        with self._database.write() as session:
            if lock_user(session, user_id).secret != secret:
                return False
            session.execute(delete(SessionRow).where(SessionRow.expires_at <= time.time()))
            session.add(SessionRow(user_id=user_id, digest=digest, expires_at=expires_at))
            return True

    def owner_of_session(self, digest: str, guarded_only: bool = False) -> User | None:
        """Whose session this is, None where its time is over, or the name has to be guarded and is not."""
        valid = [SessionRow.digest == digest, SessionRow.expires_at > time.time()]
        if guarded_only:
            valid.append(UserRow.secret.is_not(None))
        with self._database.read() as session:
            user = session.scalar(select(UserRow).join(SessionRow).where(*valid))
            return user.record() if user else None

    def extend_session(self, digest: str, expires_at: float) -> None:
        """Have it last until then; nothing happens where it opens nothing."""
        with self._database.write() as session:
            session.execute(update(SessionRow).where(SessionRow.digest == digest).values(expires_at=expires_at))

    def close_session(self, digest: str) -> None:
        """Have it open nothing from now on; nothing happens where it did not."""
        with self._database.write() as session:
            session.execute(delete(SessionRow).where(SessionRow.digest == digest))

    def load_secret(self, user_id: int) -> str | None:
        """The hash of the passphrase that guards a user's name, None where nothing does."""
        with self._database.read() as session:
            return session.scalar(select(UserRow.secret).where(UserRow.id == user_id))

    def set_secret(self, user_id: int, secret: str) -> None:
        """Guard a user's name by this hash in place of any other, and close all sessions. Raises NotFound.

        The first of all to be guarded is the admin, guests not counted, unless there is one; whom another site lets in
        is guarded.
        """
        with self._database.write() as session:
            _guard(session, lock_user(session, user_id), secret)
            session.execute(delete(SessionRow).where(SessionRow.user_id == user_id))

    def claim(self, user_id: int, secret: str) -> bool:
        """Guard a user's name by this hash unless something does already; whether it does now. Raises NotFound.

        Whoever was in under the name while it was open is so no longer. The first is the admin, as in `set_secret`.
        """
        with self._database.write() as session:
            user = lock_user(session, user_id)
            if user.secret is not None:
                return False
            _guard(session, user, secret)
            session.execute(delete(SessionRow).where(SessionRow.user_id == user_id))
            return True


def _guard(session: Session, user: UserRow, secret: str) -> None:
    before = select(UserRow.id).where(or_(UserRow.is_admin, UserRow.secret != GUEST))
    user.is_admin = user.is_admin or (secret != GUEST and session.scalar(before.limit(1)) is None)
    user.secret = secret
