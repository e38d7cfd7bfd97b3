"""Who is in front of a page: they enter a name, come back to it, and leave it. Values of the page in and out."""

from __future__ import annotations

import gradio as gr

from app.chat_handlers import ChatHandlers, Shown, named
from app.guards import SAME
from app.settings import space_owner
from app.tab import Tab
from app.visitor import Visitor
from storage.records import User


class Entering(ChatHandlers):
    """The handlers of the name and its passphrase; all show (session, visitor, name, passphrase, *the chat)."""

    def enter(self, name: str | None, passphrase: str | None = None, session: str | None = None) -> Shown:
        """Chat as this name; the page is given a session to come back with, and the one it had is over."""
        accounts = self._service.accounts
        user, new = accounts.sign_in(name or "", passphrase or "", session or "")
        accounts.close_session(session or "")
        return self._shown(user, new)

    def enter_as_guest(self, session: str | None) -> Shown:
        """Chat without a name of one's own, as the guest that this browser was, if the session is still theirs."""
        accounts = self._service.accounts
        user = accounts.come_back(session or "")
        return self._shown(user, session or "") if user else self._shown(*accounts.sign_in_as_guest())

    def resume(self, tab: Tab, number: int, session: str | None, profile: gr.OAuthProfile | None = None) -> Shown:
        """Chat as whoever this browser is on Hugging Face, or was here last; nothing changes where it is nobody.

        Whoever came by Hugging Face is nobody once it says no more that they are there.
        """
        accounts, session = self._service.accounts, session or ""
        if profile:
            name, is_owner = profile.username, profile.username == space_owner()
            return self._shown(*accounts.sign_in_from_hub(profile["sub"], name, is_owner, session))
        user = accounts.come_back(session)
        return self._shown(user, session) if user else (SAME,) * 9

    def leave(self, session: str | None) -> Shown:
        """Nobody chats here any more, and the browser's session opens nothing from now on."""
        self._service.accounts.close_session(session or "")
        return "", None, "", "", *self.start_anew(None)

    def delete_account(self, user: User | None) -> Shown:
        """Nothing is kept of the person, the name neither, and nobody chats here any more."""
        self._service.delete_account(named(user).id)
        return "", None, "", "", *self.start_anew(None)

    def _shown(self, user: User, session: str) -> Shown:
        visitor = Visitor(user, session, self._service.accounts.owner_of_session)
        return session, visitor, user.name, "", *self.start_anew(user)
