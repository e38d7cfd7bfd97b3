"""The verbs: everything the application can ask of what is kept, one short transaction each.

Knows who owns what and in which order things happen; knows no tensors and no Gradio. Every verb that changes
something locks the user's row first, so the changes of one user come one after another on every database.
"""

import hashlib
import time

from sqlalchemy import Select, delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, undefer

from storage.database import Database
from storage.errors import AlreadyAnswered, AlreadyFolded, CorruptMemory, MemoryChanged, NotFound
from storage.records import Conversation, Forgotten, Memory, Turn, User
from storage.tables import ConversationRow, MemoryRow, TurnRow, UserRow
from storage.texts import check_text, clean_name

TITLE_LENGTH = 60


class Store:
    """Safe to use from any thread; holds nothing but the database."""

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

    def _add_user(self, name: str) -> User:
        with self._database.write() as session:
            try:
                with session.begin_nested():
                    session.add(UserRow(name=name, created_at=time.time()))
            except IntegrityError:
                pass  # Another process has added the same name since we looked.
            return session.scalars(select(UserRow).where(UserRow.name == name)).one().record()

    def start_conversation(self, user_id: int) -> Conversation:
        with self._database.write() as session:
            _lock_user(session, user_id)
            conversation = ConversationRow(user_id=user_id, created_at=time.time())
            session.add(conversation)
            session.flush()
            return conversation.record(turns=0, title="")

    def list_conversations(self, user_id: int) -> list[Conversation]:
        """Newest first."""
        turns = select(func.count()).where(TurnRow.conversation_id == ConversationRow.id)
        start = select(func.substr(TurnRow.user_text, 1, TITLE_LENGTH)).order_by(TurnRow.id).limit(1)
        title = start.where(TurnRow.conversation_id == ConversationRow.id)
        rows = (
            select(ConversationRow, turns.scalar_subquery(), title.scalar_subquery())
            .where(ConversationRow.user_id == user_id)
            .order_by(ConversationRow.id.desc())
        )
        with self._database.read() as session:
            return [row.record(turns=count, title=text or "") for row, count, text in session.execute(rows)]

    def load_turns(self, user_id: int, conversation_id: int) -> list[Turn]:
        """Oldest first. Raises NotFound, also for a conversation of another user."""
        with self._database.read() as session:
            _check_conversation(session, user_id, conversation_id)
            return _records(session, select(TurnRow).where(TurnRow.conversation_id == conversation_id))

    def append_turn(self, user_id: int, conversation_id: int, user_text: str) -> Turn:
        """Store what a person wrote; it is kept once this returns. Raises NotFound or InvalidText."""
        check_text(user_text)
        with self._database.write() as session:
            _lock_user(session, user_id)
            _check_conversation(session, user_id, conversation_id)
            turn = TurnRow(
                conversation_id=conversation_id, user_id=user_id, user_text=user_text, created_at=time.time()
            )
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
            _lock_user(session, user_id)
            turn = _load_turn(session, user_id, turn_id)
            if turn.answered_at is not None:
                raise AlreadyAnswered(f"Turn {turn_id} has its reply already: start a new turn instead.")
            if turn.folded_at is not None:
                raise AlreadyFolded(f"Turn {turn_id} was folded without a reply: start a new turn instead.")
            turn.reply_text = reply_text
            turn.answered_at = time.time()
            return turn.record()

    def load_memory(self, user_id: int) -> Memory | None:
        """Raises CorruptMemory when the bytes are not those that were written."""
        with self._database.read() as session:
            row = session.get(MemoryRow, user_id, options=[undefer(MemoryRow.blob)])
            memory = row.record() if row else None
        if memory and _digest(memory.blob) != memory.header.digest:
            raise CorruptMemory(
                f"The memory of user {user_id} does not match its digest: "
                "restore the database from a backup, or rebuild the memory from its turns."
            )
        return memory

    def memory_version(self, user_id: int) -> int:
        """Return the version without reading the state, 0 for no memory: what a rebuild of a corrupt one expects."""
        with self._database.read() as session:
            return session.scalar(select(MemoryRow.version).where(MemoryRow.user_id == user_id)) or 0

    def commit_fold(
        self,
        turn_id: int,
        user_id: int,
        expected_version: int,
        blob: bytes,
        fingerprint: str,
        format_version: int,
        fold_seconds: float,
        tokens: int,
    ) -> Memory:
        """Store the new state and mark its turn as folded, both or neither.

        expected_version is that of the memory which the state was computed from, 0 for none. Raises NotFound,
        AlreadyFolded or MemoryChanged.
        """
        with self._database.write() as session:
            user = _lock_user(session, user_id)
            turn = _load_turn(session, user_id, turn_id)
            if turn.folded_at is not None:
                raise AlreadyFolded(f"Turn {turn_id} is in the memory already: nothing is left to do.")
            row = _next_memory(session, user, expected_version)
            _fill(row, blob, fingerprint, format_version, (row.turns_folded or 0) + 1)
            turn.folded_at = row.updated_at
            turn.fold_seconds = fold_seconds
            turn.tokens = tokens
            return row.record()

    def replace_memory(
        self,
        user_id: int,
        expected_version: int,
        blob: bytes,
        fingerprint: str,
        format_version: int,
        turns_folded: int,
    ) -> Memory:
        """Store a state that was computed anew from the ledger. Raises NotFound or MemoryChanged."""
        with self._database.write() as session:
            row = _next_memory(session, _lock_user(session, user_id), expected_version)
            _fill(row, blob, fingerprint, format_version, turns_folded)
            return row.record()

    def unfolded_turns(self, user_id: int | None = None) -> list[Turn]:
        """Turns that are not in a state yet, answered or not, oldest first; of every user when none is given."""
        turns = select(TurnRow).where(TurnRow.folded_at.is_(None))
        with self._database.read() as session:
            return _records(session, turns if user_id is None else turns.where(TurnRow.user_id == user_id))

    def held_turns(self, user_id: int) -> list[Turn]:
        """The ledger: the turns that are in the user's state, oldest first."""
        held = select(TurnRow).where(TurnRow.user_id == user_id, TurnRow.folded_at.is_not(None))
        with self._database.read() as session:
            return _records(session, held)

    def forget_everything(self, user_id: int) -> Forgotten:
        """Delete all turns, conversations and the memory of a user; once this returns no SQLite file holds them.

        Only the user's row stays. Raises NotFound, or DatabaseUnavailable when another process keeps the files
        from being cleaned: the rows are gone by then, and forgetting once more finishes the work.
        """
        with self._database.write() as session:
            _lock_user(session, user_id)
            forgotten = _measure(session, user_id)
            for table in (TurnRow, ConversationRow, MemoryRow):
                session.execute(delete(table).where(table.user_id == user_id))
        self._database.erase_traces()
        return forgotten


def _lock_user(session: Session, user_id: int) -> UserRow:
    user = session.scalar(select(UserRow).where(UserRow.id == user_id).with_for_update())
    if user is None:
        raise NotFound(f"There is no user {user_id}.")
    return user


def _check_conversation(session: Session, user_id: int, conversation_id: int) -> None:
    own = select(ConversationRow.id).where(ConversationRow.id == conversation_id, ConversationRow.user_id == user_id)
    if session.scalar(own) is None:
        raise NotFound(f"There is no conversation {conversation_id} for this user.")


def _load_turn(session: Session, user_id: int, turn_id: int) -> TurnRow:
    turn = session.scalar(select(TurnRow).where(TurnRow.id == turn_id, TurnRow.user_id == user_id))
    if turn is None:
        raise NotFound(f"There is no turn {turn_id} for this user.")
    return turn


def _records(session: Session, turns: Select[TurnRow]) -> list[Turn]:
    return [turn.record() for turn in session.scalars(turns.order_by(TurnRow.id))]


def _next_memory(session: Session, user: UserRow, expected_version: int) -> MemoryRow:
    """Return the user's row for a new version, an empty one if there was none, once the old version is as expected."""
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


def _fill(row: MemoryRow, blob: bytes, fingerprint: str, format_version: int, turns_folded: int) -> None:
    row.blob = blob
    row.digest = _digest(blob)
    row.fingerprint = fingerprint
    row.format_version = format_version
    row.turns_folded = turns_folded
    row.updated_at = time.time()


def _digest(blob: bytes) -> str:
    return hashlib.sha256(blob).hexdigest()


def _measure(session: Session, user_id: int) -> Forgotten:
    turns = _records(session, select(TurnRow).where(TurnRow.user_id == user_id))
    texts = sum(len(turn.user_text.encode()) + len((turn.reply_text or "").encode()) for turn in turns)
    conversations = select(func.count()).where(ConversationRow.user_id == user_id)
    state = session.scalar(select(func.length(MemoryRow.blob)).where(MemoryRow.user_id == user_id))
    return Forgotten(len(turns), session.scalar(conversations) or 0, texts + (state or 0))
