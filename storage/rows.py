"""What several verbs do with rows inside a transaction: lock, look up whose it is, make the next version.

Knows the tables; opens no transaction and hands out nothing but rows and records.
"""

import hashlib
import time
from collections.abc import Sequence

from sqlalchemy import Select, delete, select
from sqlalchemy.orm import Session

from storage.errors import MemoryChanged, NotFound
from storage.records import Packed, Rewriting, Snapshot, Turn, is_worth_keeping
from storage.tables import ConversationRow, MemoryRow, SnapshotRow, TurnRow, UserRow
from storage.vault import seal


def lock_user(session: Session, user_id: int) -> UserRow:
    """The user's row, held until the transaction ends. Raises NotFound."""
    user = session.scalar(select(UserRow).where(UserRow.id == user_id).with_for_update())
    if user is None:
        raise NotFound(f"There is no user {user_id}.")
    return user


def load_conversation(session: Session, user_id: int, conversation_id: int) -> ConversationRow:
    """Raises NotFound unless the conversation is this user's."""
    own = select(ConversationRow).where(ConversationRow.id == conversation_id, ConversationRow.user_id == user_id)
    conversation = session.scalar(own)
    if conversation is None:
        raise NotFound(f"There is no conversation {conversation_id} for this user.")
    return conversation


def load_turn(session: Session, user_id: int, turn_id: int) -> TurnRow:
    """Raises NotFound unless the turn is this user's."""
    turn = session.scalar(select(TurnRow).where(TurnRow.id == turn_id, TurnRow.user_id == user_id))
    if turn is None:
        raise NotFound(f"There is no turn {turn_id} for this user.")
    return turn


def turn_records(session: Session, turns: Select[TurnRow]) -> list[Turn]:
    """In the order in which people wrote."""
    return [turn.record() for turn in session.scalars(turns.order_by(TurnRow.id))]


def held_rows(session: Session, user_id: int) -> list[TurnRow]:
    """The turns in a user's state, in the order of their folding."""
    held = select(TurnRow).where(TurnRow.user_id == user_id, TurnRow.position.is_not(None))
    return list(session.scalars(held.order_by(TurnRow.position)))


def held_records(session: Session, user_id: int) -> list[Turn]:
    """The same as records."""
    return [turn.record() for turn in held_rows(session, user_id)]


def next_memory(session: Session, user: UserRow, expected_version: int) -> MemoryRow:
    """The user's row for a new version, an empty one if there was none, once the old version is as expected."""
    row = session.get(MemoryRow, user.id)
    version = row.version if row else 0
    if version != expected_version:
        raise MemoryChanged(
            f"The memory of user {user.id} is at version {version} and not at {expected_version}: "
            "load it and compute the change again."
        )
    if row is None:
        row = MemoryRow(user_id=user.id)
        session.add(row)
    user.memory_version += 1
    row.version = user.memory_version
    return row


def keep_snapshots(session: Session, user_id: int, fingerprint: str, new: Sequence[Snapshot], turns: int) -> None:
    """Keep states on the way to the one after so many turns, and let go of those that are not worth it any more."""
    for one in new:
        sealed = seal(session, SnapshotRow, user_id, "blob", one.blob)
        values = {**vars(one), "fingerprint": fingerprint, "digest": digest(one.blob), "blob": sealed}
        session.add(SnapshotRow(user_id=user_id, **values))
    session.flush()
    kept = session.execute(select(SnapshotRow.position, SnapshotRow.turns).where(SnapshotRow.user_id == user_id))
    gone = [position for position, count in kept if not is_worth_keeping(count, turns)]
    session.execute(delete(SnapshotRow).where(SnapshotRow.user_id == user_id, SnapshotRow.position.in_(gone)))


def drop_snapshots(session: Session, user_id: int, after: int = 0) -> None:
    """Delete the states kept after a position."""
    session.execute(delete(SnapshotRow).where(SnapshotRow.user_id == user_id, SnapshotRow.position > after))


def rewrite(session: Session, user: UserRow, expected_version: int, rewriting: Rewriting) -> MemoryRow:
    """Put a state that was made anew in the place of the old one. Raises MemoryChanged."""
    held = held_rows(session, user.id)
    again = [turn for turn in held if (turn.position or 0) > rewriting.after]
    if {turn.id for turn in again} != set(rewriting.links):
        raise MemoryChanged(f"Other turns are held for user {user.id} than those given: compute the change again.")
    for turn in again:
        turn.link = rewriting.links[turn.id]
    drop_snapshots(session, user.id, rewriting.after)
    keep_snapshots(session, user.id, rewriting.packed.fingerprint, rewriting.snapshots, len(held))
    row = next_memory(session, user, expected_version)
    fill(session, row, rewriting.packed, len(held))
    return row


def fill(session: Session, row: MemoryRow, packed: Packed, turns_folded: int) -> None:
    """Put a state into the row of a memory."""
    row.blob = seal(session, MemoryRow, row.user_id, "blob", packed.blob)
    row.digest = digest(packed.blob)
    row.fingerprint = packed.fingerprint
    row.format_version = packed.format_version
    row.turns_folded = turns_folded
    row.updated_at = time.time()


def digest(blob: bytes) -> str:
    """SHA-256."""
    return hashlib.sha256(blob).hexdigest()
