"""What programs may call through Gradio's own client: a chat with the memory behind an API key.

It knows no page and no session: whoever sends a key speaks for its owner alone.
"""

from __future__ import annotations

import gradio as gr

from app.errors import BadMessage, BadPassphrase, log_error, sentence_of
from app.people_handlers import PeopleHandlers

LARGEST = 2**63 - 1  # number that a database can hold


class Program(PeopleHandlers):
    """The endpoint `/chat`, which belongs to no page."""

    def chat(self, message: str, key: str, conversation: int = 0) -> tuple[str, int]:
        """Say something as the key's owner; the reply, and the conversation to go on with (0 starts a new one)."""
        try:
            texts, number = isinstance(message, str) and isinstance(key, str), isinstance(conversation, int)
            if not texts or not number or not 0 <= conversation <= LARGEST:
                raise BadMessage("The message and the key have to be texts, and the conversation a number.")
            owner = self._service.accounts.owner_of_key(key)
            if owner is None:
                raise BadPassphrase("This key opens nothing; `python launch.py key add --user NAME` makes one.")
            reply = self._service.send(owner.id, conversation or None, message)
            text = "".join(reply)
            reply.finished.result()  # raises what the reply failed with
            return text, reply.turn.conversation_id
        except Exception as error:
            log_error(error)
            raise gr.Error(sentence_of(error), print_exception=False) from error
