"""The plain values that storage hands out: frozen, complete, valid after their transaction has ended.

They know no database. Times are seconds since 1970 in UTC.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class User:
    id: int
    name: str
    created_at: float


@dataclass(frozen=True)
class Conversation:
    """turns is their number; title is the start of the first one, "" while there is none."""

    id: int
    user_id: int
    created_at: float
    turns: int
    title: str


@dataclass(frozen=True)
class Turn:
    """What a person wrote and what was answered; reply_text is None until it is answered, folded_at until folded."""

    id: int
    conversation_id: int
    user_id: int
    user_text: str
    reply_text: str | None
    created_at: float
    answered_at: float | None
    folded_at: float | None
    fold_seconds: float | None
    tokens: int | None


@dataclass(frozen=True)
class Header:
    """What the bytes of a state mean: their format, the engine's fingerprint, their SHA-256 and the turns within."""

    format_version: int
    fingerprint: str
    digest: str
    turns_folded: int


@dataclass(frozen=True)
class Memory:
    """A user's state as bytes. A user's versions only grow, also across a forgetting."""

    user_id: int
    version: int
    header: Header
    blob: bytes
    updated_at: float


@dataclass(frozen=True)
class Forgotten:
    """What a forgetting removed; bytes counts the texts in UTF-8 and the state."""

    turns: int
    conversations: int
    bytes: int
