"""The verbs that delete: some turns or everything, with a receipt, and nothing left in any file of SQLite's.

A receipt is written in the transaction that deletes, and marked once the files are clean: what a crash leaves between
the two is cleaned at the next start. PostgreSQL cleans its files when it likes, and no receipt there is marked. Knows
no tensors: the state without the turns is given to it.
"""

import time
from collections.abc import Iterable

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from storage.database import Database
from storage.errors import NotFound
from storage.records import Probe, Receipt, Rewriting, Turn
from storage.rows import load_turn, lock_user, rewrite
from storage.tables import ConversationRow, MemoryRow, ReceiptRow, SnapshotRow, TurnRow, UserRow
from storage.texts import check_text
from storage.vault import length_of, seal_text


class Forgetting:
    """Deletes; safe to use from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def forget_turns(
        self,
        user_id: int,
        turn_ids: set[int],
        expected_version: int,
        rewriting: Rewriting,
        probe: Probe | None = None,
    ) -> Receipt:
        """Delete turns, and put the state without them in the place of the old one; all of it or nothing.

        Conversations left without turns go too. Raises NotFound, MemoryChanged, or DatabaseUnavailable: see
        `forget_everything`.
        """
        with self._database.write() as session:
            user = lock_user(session, user_id)
            own = select(TurnRow).where(TurnRow.user_id == user_id, TurnRow.id.in_(turn_ids))
            gone = _sizes(user, session.scalars(own))
            if missing := turn_ids - set(gone):
                raise NotFound(f"There is no turn {min(missing)} for this user.")
            before = session.scalar(select(MemoryRow.digest).where(MemoryRow.user_id == user_id))
            talks = set(session.scalars(select(TurnRow.conversation_id).where(TurnRow.id.in_(turn_ids))))
            session.execute(delete(TurnRow).where(TurnRow.id.in_(turn_ids)))
            conversations = _delete_empty(session, talks)
            row = rewrite(session, user, expected_version, rewriting)
            receipt = _write_receipt(session, user_id, gone, conversations, (before or "", row.digest), probe)
        self.finish_erasing()
        return receipt

    def correct_turn(
        self, user_id: int, corrected: Turn, expected_version: int, rewriting: Rewriting, probe: Probe | None = None
    ) -> Receipt:
        """Give a held turn the texts and tokens of `corrected`, and have the state be what it is with them.

        The receipt is for the turn as it was, of which nothing stays. Raises as `forget_turns`, or InvalidText.
        """
        for text in (corrected.user_text, corrected.reply_text or ""):
            check_text(text)
        with self._database.write() as session:
            user, turn = lock_user(session, user_id), load_turn(session, user_id, corrected.id)
            old = _sizes(user, [turn])
            before = session.scalar(select(MemoryRow.digest).where(MemoryRow.user_id == user_id))
            for name in ("user_text", "reply_text"):
                setattr(turn, name, seal_text(session, TurnRow, user_id, name, getattr(corrected, name)))
            turn.tokens = corrected.tokens
            row = rewrite(session, user, expected_version, rewriting)
            receipt = _write_receipt(session, user_id, old, 0, (before or "", row.digest), probe)
        self.finish_erasing()
        return receipt

    def forget_everything(self, user_id: int) -> Receipt:
        """Delete all turns, conversations and the memory of a user; once this returns no SQLite file holds them.

        Their key is destroyed too, if they have one, and no text is opened, so what is damaged is forgotten as well.
        Only the user's row and receipts stay. Raises NotFound, or DatabaseUnavailable when another process keeps the
        files from being cleaned: the rows are gone by then, and forgetting once more finishes the work.
        """
        with self._database.write() as session:
            user = lock_user(session, user_id)
            gone = _sizes(user, session.scalars(select(TurnRow).where(TurnRow.user_id == user_id)))
            conversations = session.scalar(select(func.count()).where(ConversationRow.user_id == user_id)) or 0
            before = session.scalar(select(MemoryRow.digest).where(MemoryRow.user_id == user_id)) or ""
            for table in (TurnRow, ConversationRow, MemoryRow, SnapshotRow):
                session.execute(delete(table).where(table.user_id == user_id))
            user.sealed_key = self._database.vault.new_key(user_id) if user.sealed_key else None
            receipt = _write_receipt(session, user_id, gone, conversations, (before, ""), None)
        self.finish_erasing()
        return receipt

    def list_receipts(self, user_id: int) -> list[Receipt]:
        """Newest first."""
        rows = select(ReceiptRow).where(ReceiptRow.user_id == user_id).order_by(ReceiptRow.id.desc())
        with self._database.read() as session:
            return [row.record() for row in session.scalars(rows)]

    def finish_erasing(self) -> None:
        """Leave nothing in SQLite's files of what any receipt says was removed. Raises DatabaseUnavailable."""
        if not self._database.erases:
            return
        with self._database.read() as session:
            ids = session.scalars(select(ReceiptRow.id).where(ReceiptRow.erased_at.is_(None))).all()
        if not ids:
            return
        self._database.erase_traces()
        with self._database.write() as session:
            session.execute(update(ReceiptRow).where(ReceiptRow.id.in_(ids)).values(erased_at=time.time()))


def _delete_empty(session: Session, conversation_ids: set[int]) -> int:
    """Delete those conversations that have no turn left; return how many."""
    kept = set(session.scalars(select(TurnRow.conversation_id).where(TurnRow.conversation_id.in_(conversation_ids))))
    session.execute(delete(ConversationRow).where(ConversationRow.id.in_(conversation_ids - kept)))
    return len(conversation_ids - kept)


def _sizes(user: UserRow, turns: Iterable[TurnRow]) -> dict[int, int]:
    """The bytes of each turn's texts, by its id."""
    is_sealed = user.sealed_key is not None
    return {
        turn.id: sum(length_of(text or "", is_sealed) for text in (turn.user_text, turn.reply_text)) for turn in turns
    }


def _write_receipt(
    session: Session,
    user_id: int,
    gone: dict[int, int],
    conversations: int,
    digests: tuple[str, str],
    probe: Probe | None,
) -> Receipt:
    row = ReceiptRow(
        user_id=user_id,
        created_at=time.time(),
        turns=len(gone),
        conversations=conversations,
        text_bytes=sum(gone.values()),
        digest_before=digests[0],
        digest_after=digests[1],
        probe_before=probe.before if probe else None,
        probe_after=probe.after if probe else None,
    )
    session.add(row)
    session.flush()
    return row.record()
