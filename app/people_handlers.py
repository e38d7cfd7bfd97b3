"""What happens in the admin's tab: values of the page in, values for the page out.

Asks each time whether who is there is the admin; the rules are the service's, the words are `wording`'s.
"""

from __future__ import annotations

import gradio as gr

from app import wording
from app.chat_handlers import Shown, named
from app.entering import Entering
from app.errors import NotAdmin
from app.guards import SAME
from app.tab import Tab
from storage.records import User


class PeopleHandlers(Entering):
    """The handlers of the admin's tab; what they show is (table, who is picked, its panel, the question, outcome)."""

    def show_people_tab(self, user: User | None) -> Shown:
        """The tab, which is there for the admin only, and empty until it is looked at."""
        return gr.update(visible=bool(user and user.is_admin)), [], None, gr.update(visible=False), "", ""

    def show_people(self, tab: Tab, number: int, user: User | None) -> Shown:
        """Everybody, as it is now."""
        _admin(user)
        return self._people(), None, gr.update(visible=False), "", ""

    def pick_person(self, tab: Tab, number: int, user: User | None, picked: gr.SelectData) -> Shown:
        """Ask whether somebody is to be deleted: what is shown but for the table."""
        admin, name = _admin(user), str(picked.row_value[0])
        if name == admin.name:
            return None, gr.update(visible=False), "", wording.status("This is you; the Memory tab deletes your name")
        return name, gr.update(visible=True), wording.deleting(name), ""

    def delete_person(self, tab: Tab, number: int, user: User | None, name: str | None) -> Shown:
        """Delete whoever was picked, with all that is kept of them."""
        _admin(user)
        if name is None:
            return SAME, None, gr.update(visible=False), "", SAME
        self._service.delete_account(self._service.load_user(name).id)
        return self._people(), None, gr.update(visible=False), "", wording.status(f"Nothing is kept of {name} any more")

    def _people(self) -> list[list[str | int]]:
        return [wording.person_row(person) for person in self._service.list_people()]


def _admin(user: User | None) -> User:
    """Whoever is there, if they are the admin; raise NotAdmin, or NameMissing, if not."""
    person = named(user)
    if not person.is_admin:
        raise NotAdmin("Only the admin sees how much is kept of others; the server's owner says who that is.")
    return person
