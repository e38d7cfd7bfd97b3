"""The verbs: everything the application can ask of what is kept, one short transaction each.

Knows who owns what and in which order things happen; knows no tensors and no Gradio. Every verb that changes
something locks the user's row first, so the changes of one user come one after another on every database.
"""

import time

from sqlalchemy import func, select
from sqlalchemy.orm import Session, undefer

from storage.credentials import Credentials
from storage.errors import AlreadyAnswered, AlreadyFolded, CorruptMemory, MemoryChanged
from storage.forgetting import Forgetting
from storage.people import People
from storage.records import (
    Entry,
    Folding,
    Memory,
    Packed,
    Rewriting,
    Snapshot,
    Turn,
    is_worth_keeping,
)
from storage.rows import (
    digest,
    drop_snapshots,
    fill,
    held_records,
    held_rows,
    keep_snapshots,
    load_conversation,
    load_turn,
    lock_user,
    next_memory,
    rewrite,
    turn_records,
)
from storage.sealing import Sealing
from storage.tables import ConversationRow, MemoryRow, SnapshotRow, TurnRow, UserRow
from storage.talks import Talks
from storage.texts import check_text
from storage.vault import seal_text


class Store(People, Forgetting, Credentials, Sealing, Talks):
    """All verbs, those that delete included. Safe to use from any thread; holds nothing but the database."""

    def check(self) -> None:
        """Raises StorageError unless the database answers."""
        with self._database.read() as session:
            session.scalar(select(UserRow.id).limit(1))

    def load_turn(self, user_id: int, turn_id: int) -> Turn:
        """Raises NotFound, also for a turn of another user."""
        with self._database.read() as session:
            return load_turn(session, user_id, turn_id).record()

    def append_turn(self, user_id: int, conversation_id: int, user_text: str) -> Turn:
        """Store what a person wrote; it is kept once this returns. Raises NotFound or InvalidText."""
        check_text(user_text)
        with self._database.write() as session:
            lock_user(session, user_id)
            load_conversation(session, user_id, conversation_id)
            said = seal_text(session, TurnRow, user_id, "user_text", user_text)
            turn = TurnRow(conversation_id=conversation_id, user_id=user_id, user_text=said, created_at=time.time())
            session.add(turn)
            session.flush()
            return turn.record()

    def answer_turn(self, user_id: int, turn_id: int, reply_text: str) -> Turn:
        """Store the reply, also a stopped or an empty one, once.

        Raises NotFound, InvalidText, AlreadyAnswered, or AlreadyFolded: what is in the state must stay what the
        ledger says.
        """
        check_text(reply_text)
        with self._database.write() as session:
            lock_user(session, user_id)
            turn = load_turn(session, user_id, turn_id)
            if turn.answered_at is not None:
                raise AlreadyAnswered(f"Turn {turn_id} has its reply already: start a new turn instead.")
            if turn.folded_at is not None:
                raise AlreadyFolded(f"Turn {turn_id} was folded without a reply: start a new turn instead.")
            turn.reply_text = seal_text(session, TurnRow, user_id, "reply_text", reply_text)
            turn.answered_at = time.time()
            return turn.record()

    def load_memory(self, user_id: int) -> Memory | None:
        """Raises CorruptMemory when the bytes are not those that were written."""
        with self._database.read() as session:
            row = session.get(MemoryRow, user_id, options=[undefer(MemoryRow.blob)])
            memory = row.record() if row else None
        if memory and digest(memory.blob) != memory.header.digest:
            raise CorruptMemory(
                f"The memory of user {user_id} does not match its digest: "
                "restore the database from a backup, or rebuild the memory from its turns."
            )
        return memory

    def memory_version(self, user_id: int) -> int:
        """Return the version without reading the state, 0 for no memory: what a rebuild of a corrupt one expects."""
        with self._database.read() as session:
            return self._version(session, user_id)

    @staticmethod
    def _version(session: Session, user_id: int) -> int:
        return session.scalar(select(MemoryRow.version).where(MemoryRow.user_id == user_id)) or 0

    def last_link(self, user_id: int) -> str | None:
        """The link of the turn that was folded last, None where there is none."""
        newest = select(TurnRow.link).where(TurnRow.user_id == user_id, TurnRow.position.is_not(None))
        with self._database.read() as session:
            return session.scalar(newest.order_by(TurnRow.position.desc()).limit(1))

    def commit_fold(
        self, turn_id: int, user_id: int, expected_version: int, packed: Packed, folding: Folding
    ) -> Memory:
        """Store the new state and mark its turn as folded, both or neither; every so often keep the state for later.

        expected_version is that of the memory which the state was computed from, 0 for none. Raises NotFound,
        AlreadyFolded or MemoryChanged.
        """
        with self._database.write() as session:
            user = lock_user(session, user_id)
            turn = load_turn(session, user_id, turn_id)
            if turn.folded_at is not None:
                raise AlreadyFolded(f"Turn {turn_id} is in the memory already: nothing is left to do.")
            row = next_memory(session, user, expected_version)
            fill(session, row, packed, (row.turns_folded or 0) + 1)
            turn.folded_at, turn.position = row.updated_at, row.version
            turn.fold_seconds, turn.tokens, turn.link = folding.seconds, folding.tokens, folding.link
            memory = row.record()
            if is_worth_keeping(row.turns_folded, row.turns_folded):
                snapshot = Snapshot(row.version, row.turns_folded, packed.blob)
                keep_snapshots(session, user_id, packed.fingerprint, [snapshot], row.turns_folded)
            return memory

    def load_snapshot(self, user_id: int, before: int, fingerprint: str) -> Snapshot | None:
        """The last state kept before a position, as a model of this fingerprint made it; None where none is sound."""
        kept = select(SnapshotRow).where(SnapshotRow.user_id == user_id, SnapshotRow.fingerprint == fingerprint)
        with self._database.read() as session:
            newest = kept.where(SnapshotRow.position < before).order_by(SnapshotRow.position.desc()).limit(1)
            row = session.scalar(newest)
            try:
                snapshot = row.record() if row else None
            except CorruptMemory:
                return None
            return snapshot if row and snapshot and digest(snapshot.blob) == row.digest else None

    def replace_memory(self, user_id: int, expected_version: int, rewriting: Rewriting) -> Memory:
        """Store a state that was computed anew from the ledger. Raises NotFound or MemoryChanged."""
        with self._database.write() as session:
            return rewrite(session, lock_user(session, user_id), expected_version, rewriting).record()

    def pin_turn(self, user_id: int, turn_id: int, expected_version: int, pinned: bool, rewriting: Rewriting) -> Memory:
        """Note whether a turn fades, with the state that follows from it. Raises NotFound or MemoryChanged."""
        with self._database.write() as session:
            user = lock_user(session, user_id)
            load_turn(session, user_id, turn_id).pinned = pinned
            return rewrite(session, user, expected_version, rewriting).record()

    def reopen_turn(
        self, user_id: int, turn_id: int, expected_version: int, rewriting: Rewriting
    ) -> tuple[Memory, Turn]:
        """Have a turn be as if just written, and the state the one without it, both or neither.

        Raises NotFound or MemoryChanged.
        """
        with self._database.write() as session:
            user, turn = lock_user(session, user_id), load_turn(session, user_id, turn_id)
            turn.reply_text = turn.answered_at = turn.folded_at = turn.fold_seconds = None
            turn.tokens = turn.position = turn.link = None
            session.flush()
            row = rewrite(session, user, expected_version, rewriting)
            return row.record(), turn.record()

    def merge_memory(
        self, user_id: int, expected_version: int, arriving: dict[int, Entry], pinned: set[int], rewriting: Rewriting
    ) -> Memory:
        """Take turns of another memory in among those held, with the state of both together; all of it or nothing.

        The order of `rewriting.links` is the new order of all turns; those that arrive have their keys of `arriving`
        there and in `pinned`, which are no ids of turns. Raises NotFound, InvalidText or MemoryChanged.
        """
        for entry in arriving.values():
            check_text(entry.user_text)
            check_text(entry.reply_text or "")
        with self._database.write() as session:
            user = lock_user(session, user_id)
            turns = {turn.id: turn for turn in held_rows(session, user_id)} | _arrived(session, user_id, arriving)
            if set(turns) != set(rewriting.links):
                raise MemoryChanged(f"Other turns are held for user {user_id} than those given: merge once more.")
            row = next_memory(session, user, expected_version)
            fill(session, row, rewriting.packed, len(turns))
            for position, (key, link) in enumerate(rewriting.links.items(), row.version):
                turns[key].position, turns[key].link, turns[key].pinned = position, link, key in pinned
            user.memory_version = row.version = row.version + max(0, len(turns) - 1)
            drop_snapshots(session, user_id)
            session.add_all(turns.values())
            return row.record()

    def unfolded_turns(self, user_id: int | None = None) -> list[Turn]:
        """Turns that are not in a state yet, answered or not, oldest first; of every user when none is given."""
        turns = select(TurnRow).where(TurnRow.folded_at.is_(None))
        with self._database.read() as session:
            return turn_records(session, turns if user_id is None else turns.where(TurnRow.user_id == user_id))

    def held_tokens(self, user_id: int) -> int:
        """Tokens of the turns that are in the user's state."""
        held = select(func.coalesce(func.sum(TurnRow.tokens), 0)).where(
            TurnRow.user_id == user_id, TurnRow.position.is_not(None)
        )
        with self._database.read() as session:
            return int(session.scalar(held) or 0)

    def held_turns(self, user_id: int) -> list[Turn]:
        """The ledger: the turns that are in the user's state, in the order of their folding."""
        with self._database.read() as session:
            return held_records(session, user_id)


def _arrived(session: Session, user_id: int, arriving: dict[int, Entry]) -> dict[int, TurnRow]:
    """Rows for turns from elsewhere, in new conversations, under their keys."""
    numbers = sorted({entry.conversation for entry in arriving.values()})
    talks = {number: ConversationRow(user_id=user_id, created_at=time.time()) for number in numbers}
    session.add_all(talks.values())
    session.flush()
    rows = {}
    for key, entry in arriving.items():
        values = {name: value for name, value in vars(entry).items() if name != "conversation"}
        for name in ("user_text", "reply_text"):
            values[name] = seal_text(session, TurnRow, user_id, name, values[name])
        rows[key] = TurnRow(**values, conversation_id=talks[entry.conversation].id, user_id=user_id)
    return rows
