"""What a person may ask about conversations: which there are, what was said in them, and how each is answered.

Knows no prompts and no replies.
"""

from __future__ import annotations

from dataclasses import replace

from app.asking import PLAIN, checked_manner
from app.intake import checked_title
from app.upkeep import Upkeep
from storage.records import Conversation, Manner, Turn


class Talks(Upkeep):
    """A person's conversations. Safe to use from any thread."""

    def list_conversations(self, user_id: int, containing: str = "") -> list[Conversation]:
        """Newest first; only those in which this text is, if one is given."""
        return self._store.list_conversations(user_id, containing)

    def rename_conversation(self, user_id: int, conversation_id: int, title: str) -> None:
        """Call it so in lists; raise NotFound unless it is this person's."""
        self._store.rename_conversation(user_id, conversation_id, checked_title(title))

    def load_turns(self, user_id: int, conversation_id: int) -> list[Turn]:
        """Oldest first; raise NotFound unless the conversation is this person's."""
        return self._store.load_turns(user_id, conversation_id)

    def manner(self, user_id: int, conversation_id: int | None) -> Manner:
        """How a conversation is answered; the usual manner where there is none yet."""
        return self._checked(PLAIN if conversation_id is None else self._store.load_manner(user_id, conversation_id))

    def _wanted(self, user_id: int, conversation_id: int | None, manner: Manner | None) -> Manner:
        """The manner that is asked for, or else the conversation's."""
        return self._checked(manner) if manner else self.manner(user_id, conversation_id)

    def _checked(self, manner: Manner) -> Manner:
        """The manner with every field said; raise where it cannot be one."""
        checked = checked_manner(manner, self._settings.message_characters)
        return checked if checked.temperature is not None else replace(checked, temperature=self._settings.temperature)

    def _keep_manner(self, user_id: int, conversation_id: int, manner: Manner) -> None:
        if manner != self.manner(user_id, conversation_id):
            self._store.set_manner(user_id, conversation_id, manner)
