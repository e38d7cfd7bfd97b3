"""The tables, and how each row becomes a plain record.

Knows no sessions and no rules. A change here needs a revision in migrations/versions; a test compares the two.
"""

from typing import Any, ClassVar

from sqlalchemy import Double, ForeignKey, Index, LargeBinary, MetaData, String, Text, false
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from storage.records import Conversation, Header, Key, Manner, Memory, Probe, Receipt, Snapshot, Turn, User
from storage.vault import unseal, unseal_text

NAME_LENGTH = 80

CONSTRAINT_NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=CONSTRAINT_NAMES)
    type_annotation_map: ClassVar[dict[type, Any]] = {float: Double(), bytes: LargeBinary()}


class Numbered:
    """A row whose id is never given to another row, also not after it is deleted."""

    __table_args__: ClassVar[dict[str, Any]] = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(primary_key=True, sort_order=-1)


class UserRow(Numbered, Base):
    """memory_version is the last version given out; it outlives the memory, so no number comes twice.

    secret is the Argon2 hash of the passphrase that guards the name, NULL where nothing does, or says that
    no passphrase opens it: see records.py. subject is how another site knows this person. sealed_key seals what is
    stored of this person, NULL where it is not sealed: see vault.py.
    """

    __tablename__ = "users"

    name: Mapped[str] = mapped_column(String(NAME_LENGTH), unique=True)
    created_at: Mapped[float]
    memory_version: Mapped[int] = mapped_column(default=0)
    secret: Mapped[str | None] = mapped_column(Text)
    sealed_key: Mapped[bytes | None]
    subject: Mapped[str | None] = mapped_column(String(200))
    is_admin: Mapped[bool] = mapped_column(default=False, server_default=false())

    def record(self) -> User:
        return User(self.id, self.name, self.created_at, self.is_admin)


class ConversationRow(Numbered, Base):
    __tablename__ = "conversations"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[float]
    strength: Mapped[float] = mapped_column(default=1.0, server_default="1")
    title: Mapped[str | None] = mapped_column(Text)
    instructions: Mapped[str | None] = mapped_column(Text)
    temperature: Mapped[float | None]

    def manner(self) -> Manner:
        return Manner(self.strength, unseal_text(self, "instructions") or "", self.temperature)

    def record(self, turns: int, start: str) -> Conversation:
        """`start` is how its first turn begins: its title until somebody gives it one."""
        title = unseal_text(self, "title") or start
        return Conversation(self.id, self.user_id, self.created_at, turns, title, self.manner())


class TurnRow(Numbered, Base):
    """position is the memory's version that first held the turn: the order of folding. It and link are NULL before.

    link is NULL too for turns that were folded before there were links.
    """

    __tablename__ = "turns"

    conversation_id: Mapped[int] = mapped_column(ForeignKey("conversations.id", ondelete="CASCADE"), index=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    user_text: Mapped[str] = mapped_column(Text)
    reply_text: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[float]
    answered_at: Mapped[float | None]
    folded_at: Mapped[float | None]
    fold_seconds: Mapped[float | None]
    tokens: Mapped[int | None]
    position: Mapped[int | None]
    link: Mapped[str | None] = mapped_column(String(64))
    pinned: Mapped[bool] = mapped_column(default=False, server_default=false())

    def record(self) -> Turn:
        return Turn(
            id=self.id,
            conversation_id=self.conversation_id,
            user_id=self.user_id,
            user_text=unseal_text(self, "user_text") or "",
            reply_text=unseal_text(self, "reply_text"),
            created_at=self.created_at,
            answered_at=self.answered_at,
            folded_at=self.folded_at,
            fold_seconds=self.fold_seconds,
            tokens=self.tokens,
            position=self.position,
            link=self.link,
            pinned=self.pinned,
        )


Index("ix_users_subject", UserRow.subject, unique=True)
Index("ix_turns_user_id_position", TurnRow.user_id, TurnRow.position)


class MemoryRow(Base):
    """The blob is read only where it is asked for, and stands last so that SQLite reads the rest without it."""

    __tablename__ = "memories"

    user_id: Mapped[int] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    version: Mapped[int]
    format_version: Mapped[int]
    fingerprint: Mapped[str] = mapped_column(Text)
    digest: Mapped[str] = mapped_column(String(64))
    turns_folded: Mapped[int]
    updated_at: Mapped[float]
    blob: Mapped[bytes] = mapped_column(deferred=True)

    def record(self) -> Memory:
        header = Header(self.format_version, self.fingerprint, self.digest, self.turns_folded)
        return Memory(self.user_id, self.version, header, unseal(self, "blob"), self.updated_at)


class SnapshotRow(Base):
    """A state on the way to the one that is read, so that a change does not have to fold everything again."""

    __tablename__ = "snapshots"

    user_id: Mapped[int] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    turns: Mapped[int]
    fingerprint: Mapped[str] = mapped_column(Text)
    digest: Mapped[str] = mapped_column(String(64))
    blob: Mapped[bytes]

    def record(self) -> Snapshot:
        return Snapshot(self.position, self.turns, unseal(self, "blob"))


class KeyRow(Numbered, Base):
    """digest is the SHA-256 of a key that only its owner has."""

    __tablename__ = "keys"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    label: Mapped[str] = mapped_column(String(NAME_LENGTH))
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[float]

    def record(self) -> Key:
        return Key(self.id, self.user_id, self.label, self.created_at)


class SessionRow(Numbered, Base):
    """digest is the SHA-256 of what a browser keeps."""

    __tablename__ = "sessions"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    expires_at: Mapped[float]


class ReceiptRow(Numbered, Base):
    """What one forgetting removed, without any text; erased_at is NULL until SQLite's files are clean of it."""

    __tablename__ = "receipts"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[float]
    turns: Mapped[int]
    conversations: Mapped[int]
    text_bytes: Mapped[int]
    digest_before: Mapped[str] = mapped_column(String(64))
    digest_after: Mapped[str] = mapped_column(String(64))
    erased_at: Mapped[float | None]
    probe_before: Mapped[float | None]
    probe_after: Mapped[float | None]

    def record(self) -> Receipt:
        probed = self.probe_before is not None and self.probe_after is not None
        return Receipt(
            self.id,
            self.user_id,
            self.created_at,
            self.turns,
            self.conversations,
            self.text_bytes,
            self.digest_before,
            self.digest_after,
            Probe(self.probe_before or 0.0, self.probe_after or 0.0) if probed else None,
        )
