"""Sealing at rest: texts and states are stored encrypted, each person's with a key of their own.

A person's key is stored sealed with the operator's master key, which is nowhere in the database, and is destroyed when
the person is forgotten. AES-256-GCM (NIST SP 800-38D); what is sealed is bound to whose it is and to its column, so
nothing can be put in another's place. Where a person has no key everything passes as it is.
"""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import column, select, table
from sqlalchemy.orm import Session, object_session

from storage.errors import CorruptMemory, Sealed

KEY_BYTES, NONCE_BYTES, TAG_BYTES = 32, 12, 16
USERS = table("users", column("id"), column("sealed_key"))


class Vault:
    """Makes and opens people's keys; `master` are KEY_BYTES bytes, None where nothing is sealed.

    `old` is the master key before, which opens what the new one does not.
    """

    def __init__(self, master: bytes | None = None, old: bytes | None = None) -> None:
        self._master = AESGCM(master) if master else None
        self._old = AESGCM(old) if old else None

    @property
    def seals(self) -> bool:
        """Whether there is a master key."""
        return self._master is not None

    def new_key(self, user_id: int) -> bytes | None:
        """A key for a person, sealed; None without a master key."""
        return None if self._master is None else _seal(self._master, os.urandom(KEY_BYTES), _place(user_id, "key"))

    def cipher(self, user_id: int, key: bytes) -> AESGCM:
        """What a person's key seals with. Raises Sealed unless a master key opens it."""
        return AESGCM(self._opened(user_id, key))

    def renewed(self, user_id: int, key: bytes) -> bytes | None:
        """A person's key, sealed with the master key anew; None where it is sealed with that one already.

        Raises Sealed unless a master key opens it.
        """
        opened = self._opened(user_id, key)
        if self._master is None or _opens(self._master, key, _place(user_id, "key")):
            return None
        return _seal(self._master, opened, _place(user_id, "key"))

    def _opened(self, user_id: int, key: bytes) -> bytes:
        if self._master is None:
            raise Sealed("The database is sealed: set IMPRINT_MASTER_KEY to the key that it was sealed with.")
        for master in filter(None, (self._master, self._old)):
            if opened := _opens(master, key, _place(user_id, "key")):
                return opened
        raise Sealed(
            "The database is sealed with another key than IMPRINT_MASTER_KEY: set the one that it was sealed with, "
            "or give that one as IMPRINT_OLD_MASTER_KEY to have it changed."
        )


def seal(session: Session, row: type[Any], user_id: int, name: str, data: bytes) -> bytes:
    """What is stored of bytes, in the column `name` of a table's `row`."""
    cipher = _cipher(session, user_id)
    return _seal(cipher, data, _place(user_id, f"{row.__tablename__}.{name}")) if cipher else data


def seal_text(session: Session, row: type[Any], user_id: int, name: str, text: str | None) -> str | None:
    """The same of a text, None for none."""
    if text is None or _cipher(session, user_id) is None:
        return text
    return b64encode(seal(session, row, user_id, name, text.encode())).decode()


def unseal(row: Any, name: str) -> bytes:
    """The bytes of a state that a row's column stands for. Raises CorruptMemory where they are not its person's."""
    data: bytes = getattr(row, name)
    cipher = _cipher(_session(row), row.user_id)
    try:
        return _unseal(cipher, data, _place(row.user_id, f"{row.__tablename__}.{name}")) if cipher else data
    except (InvalidTag, ValueError) as error:
        raise CorruptMemory(
            f"The sealed memory of user {row.user_id} was changed: restore the database from a backup, or rebuild the "
            "memory from its turns."
        ) from error


def unseal_text(row: Any, name: str) -> str | None:
    """The same of a text, None for none."""
    text: str | None = getattr(row, name)
    cipher = _cipher(_session(row), row.user_id)
    if text is None or cipher is None:
        return text
    try:
        return _unseal(cipher, b64decode(text), _place(row.user_id, f"{row.__tablename__}.{name}")).decode()
    except (InvalidTag, ValueError) as error:
        raise Sealed(
            f"A text of user {row.user_id} in {row.__tablename__} was changed; restore the database from a backup."
        ) from error


def length_of(text: str, is_sealed: bool) -> int:
    """Bytes in UTF-8 of what a stored text stands for; it is not opened, so a damaged one has a length too."""
    if not is_sealed:
        return len(text.encode())
    return max(0, len(text) * 3 // 4 - text.count("=") - NONCE_BYTES - TAG_BYTES)


def forget_ciphers(session: Session) -> None:
    """Look people's keys up again: one of them has changed."""
    session.info.pop("ciphers", None)


def _cipher(session: Session, user_id: int) -> AESGCM | None:
    """A person's cipher, looked up once in a transaction; None where nothing of theirs is sealed."""
    known: dict[int, AESGCM | None] = session.info.setdefault("ciphers", {})
    if user_id not in known:
        with session.no_autoflush:  # a row may be half filled
            key = session.scalar(select(USERS.c.sealed_key).where(USERS.c.id == user_id))
        known[user_id] = session.info["vault"].cipher(user_id, bytes(key)) if key else None
    return known[user_id]


def _session(row: Any) -> Session:
    session = object_session(row)
    if session is None:
        raise RuntimeError("A row is read only within its transaction.")
    return session


def _seal(cipher: AESGCM, data: bytes, place: bytes) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, data, place)


def _opens(master: AESGCM, key: bytes, place: bytes) -> bytes | None:
    try:
        return _unseal(master, key, place)
    except InvalidTag:
        return None


def _unseal(cipher: AESGCM, data: bytes, place: bytes) -> bytes:
    return cipher.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], place)


def _place(user_id: int, name: str) -> bytes:
    return f"{user_id}:{name}".encode()
