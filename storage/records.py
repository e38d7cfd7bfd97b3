"""The plain values that storage hands out: frozen, complete, valid after their transaction has ended.

They know no database. Times are seconds since 1970 in UTC.
"""

from dataclasses import dataclass, field
from typing import Literal

SNAPSHOT_EVERY = 32  # turns
GUEST, HUB = "!", "!hub"  # guards of names that no passphrase opens: only a browser's session, or another site's word


def is_worth_keeping(turns: int, newest: int) -> bool:
    """Whether the state after so many turns is kept once there are `newest`: the newest, and fewer the older they are.

    Some 2 log2(turns / 32) states are kept, and a change that is n turns back folds some 3 n turns again, at most.
    """
    number, last = turns // SNAPSHOT_EVERY, newest // SNAPSHOT_EVERY
    return not turns % SNAPSHOT_EVERY and last - number < 2 * (number & -number)


@dataclass(frozen=True)
class User:
    id: int
    name: str
    created_at: float
    is_admin: bool = field(default=False, compare=False)  # sees how much is kept of everybody, and may delete them


@dataclass(frozen=True)
class Person:
    """How much is kept of somebody, and nothing of what; memory_bytes are those of the state."""

    user: User
    turns: int
    memory_bytes: int
    last_turn_at: float | None
    opens_with: Literal["name", "passphrase", "guest", "hub"]


@dataclass(frozen=True)
class Kept:
    """How much is kept of one person: conversations, and the bytes of states and characters of texts together."""

    conversations: int
    size: int


@dataclass(frozen=True)
class Key:
    """What is known of a key: whose it is and what they call it. The key itself is nowhere but with them."""

    id: int
    user_id: int
    label: str
    created_at: float


@dataclass(frozen=True)
class Manner:
    """How a conversation is answered.

    strength is how much of the memory is read, from 0 (nothing) to 1; instructions go before everything else that is
    read; temperature says how freely words are chosen, None for as the settings say.
    """

    strength: float = 1.0
    instructions: str = ""
    temperature: float | None = None


@dataclass(frozen=True)
class Conversation:
    """turns is their number; title is what a person called it, or the start of the
    first one, "" while there is none.
    """

    id: int
    user_id: int
    created_at: float
    turns: int
    title: str
    manner: Manner


@dataclass(frozen=True)
class Turn:
    """What a person wrote and what was answered; reply_text is None until it is answered, folded_at until folded.

    Turns are in the state in the order of `position`. `link` chains a held turn to the one before it, its own text and
    the state after it; None for those folded before there were links. What is `pinned` does not fade.
    """

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
    position: int | None
    link: str | None
    pinned: bool = False


@dataclass(frozen=True)
class Entry:
    """A held turn on its way from one database to another; conversation counts from 0 within the memory."""

    conversation: int
    user_text: str
    reply_text: str | None
    created_at: float
    answered_at: float | None
    folded_at: float | None
    fold_seconds: float | None
    tokens: int | None
    pinned: bool = False


@dataclass(frozen=True)
class Packed:
    """A state to be stored: its bytes, the fingerprint of the engine that made it, and their format."""

    blob: bytes
    fingerprint: str
    format_version: int


@dataclass(frozen=True)
class Folding:
    """What the ledger keeps of one fold: how long it took, the tokens read, the turn's link."""

    seconds: float
    tokens: int
    link: str


@dataclass(frozen=True)
class Snapshot:
    """The state of a memory as it was once the turn at `position` was folded, the one after so many `turns`."""

    position: int
    turns: int
    blob: bytes


@dataclass(frozen=True)
class Rewriting:
    """A state made anew because a turn before it has changed, and what the ledger keeps of the making.

    All turns held after the position `after` were folded again: `links` has the new link of each of them by its id,
    `snapshots` the states after some of them.
    """

    packed: Packed
    links: dict[int, str]
    snapshots: tuple[Snapshot, ...] = ()
    after: int = 0


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
class Probe:
    """By how much a memory raised ln p of words that were forgotten, in nats a turn: before, and since."""

    before: float
    after: float


@dataclass(frozen=True)
class Receipt:
    """What one forgetting removed and the digests of the state around it, "" for none; holds nothing of what was said.

    text_bytes counts the texts in UTF-8. There is no probe of what was not folded, or of a memory that is gone whole.
    """

    id: int
    user_id: int
    created_at: float
    turns: int
    conversations: int
    text_bytes: int
    digest_before: str
    digest_after: str
    probe: Probe | None = None
