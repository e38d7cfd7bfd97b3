"""The verbs about conversations: begin, name, find, and how each is answered."""

import time

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from storage.database import Database
from storage.records import Conversation, Manner, Turn
from storage.rows import load_conversation, lock_user, turn_records
from storage.tables import ConversationRow, TurnRow
from storage.texts import check_text
from storage.vault import seal_text

TITLE_LENGTH = 60


class Talks:
    """Everything about conversations but their turns; safe to use from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def start_conversation(self, user_id: int) -> Conversation:
        with self._database.write() as session:
            lock_user(session, user_id)
            conversation = ConversationRow(user_id=user_id, created_at=time.time())
            session.add(conversation)
            session.flush()
            return conversation.record(turns=0, start="")

    def load_manner(self, user_id: int, conversation_id: int) -> Manner:
        """Raises NotFound, also for a conversation of another user."""
        with self._database.read() as session:
            return load_conversation(session, user_id, conversation_id).manner()

    def set_manner(self, user_id: int, conversation_id: int, manner: Manner) -> None:
        """Have the conversation be answered so from now on. Raises NotFound, or InvalidText."""
        check_text(manner.instructions)
        with self._database.write() as session:
            lock_user(session, user_id)
            row = load_conversation(session, user_id, conversation_id)
            row.strength, row.temperature = manner.strength, manner.temperature
            sealed = seal_text(session, ConversationRow, user_id, "instructions", manner.instructions or None)
            row.instructions = sealed

    def rename_conversation(self, user_id: int, conversation_id: int, title: str) -> None:
        """Call it so from now on; "" for the start of its first turn. Raises NotFound, or InvalidText."""
        check_text(title)
        with self._database.write() as session:
            lock_user(session, user_id)
            row = load_conversation(session, user_id, conversation_id)
            row.title = seal_text(session, ConversationRow, user_id, "title", title[:TITLE_LENGTH] or None)

    def list_conversations(self, user_id: int, containing: str = "") -> list[Conversation]:
        """Newest first; only those with this text in their title or a turn, whatever its case, if there is one."""
        rows = select(ConversationRow).where(ConversationRow.user_id == user_id).order_by(ConversationRow.id.desc())
        with self._database.read() as session:
            numbers = select(TurnRow.conversation_id, func.count(), func.min(TurnRow.id))
            grouped = numbers.where(TurnRow.user_id == user_id).group_by(TurnRow.conversation_id)
            counts = {talk: (count, first) for talk, count, first in session.execute(grouped)}
            firsts = select(TurnRow).where(TurnRow.id.in_([first for _, first in counts.values()]))
            starts = {turn.conversation_id: turn.user_text for turn in turn_records(session, firsts)}
            talks = [
                row.record(counts.get(row.id, (0, 0))[0], starts.get(row.id, "")[:TITLE_LENGTH])
                for row in session.scalars(rows)
            ]
            found = _mentioning(session, user_id, containing) if containing else set()
        if not containing:
            return talks
        return [talk for talk in talks if talk.id in found or containing.casefold() in talk.title.casefold()]

    def load_turns(self, user_id: int, conversation_id: int) -> list[Turn]:
        """Oldest first. Raises NotFound, also for a conversation of another user."""
        with self._database.read() as session:
            load_conversation(session, user_id, conversation_id)
            return turn_records(session, select(TurnRow).where(TurnRow.conversation_id == conversation_id))


def _mentioning(session: Session, user_id: int, text: str) -> set[int]:
    """The conversations with a turn in which a text is: what is sealed can be searched only once it is open."""
    turns = turn_records(session, select(TurnRow).where(TurnRow.user_id == user_id))
    return {turn.conversation_id for turn in turns if text.casefold() in _said(turn)}


def _said(turn: Turn) -> str:
    return f"{turn.user_text}\n{turn.reply_text or ''}".casefold()
