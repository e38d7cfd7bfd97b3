"""Guests, who have no name of their own; and the admin, who sees how much is kept of everybody and never what."""

from __future__ import annotations

import time
from dataclasses import replace

import gradio as gr
import pytest

from app.accounts import Accounts
from app.errors import BadPassphrase, NameMissing, NotAdmin
from app.handlers import Handlers
from app.service import Service
from app.tab import Tab
from storage.database import Database
from storage.records import User
from storage.store import Store
from tests.app.conftest import say

RIGHT = "correct horse"


@pytest.fixture
def door(store: Store) -> Accounts:
    """Where every name has to have a passphrase."""
    return Accounts(store, required=True)


@pytest.fixture
def admin(service: Service, bob: User) -> User:
    """The first who guarded a name."""
    return service.accounts.sign_in("Ada", RIGHT)[0]


def picking(name: str) -> gr.SelectData:
    return gr.SelectData(None, {"index": (0, 0), "value": name, "row_value": [name]})


def test_a_guest_is_somebody_new_whom_only_their_session_lets_in(door: Accounts) -> None:
    (one, session), (other, _) = door.sign_in_as_guest(), door.sign_in_as_guest()
    assert one.id != other.id
    assert door.owner_of_session(session) == one
    for passphrase in ("", "!", RIGHT):
        with pytest.raises(BadPassphrase):
            door.sign_in(one.name, passphrase)


def test_a_guest_whom_nothing_lets_in_any_more_is_deleted(
    service: Service, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = service.accounts
    lost, keyed = accounts.sign_in_as_guest()[0], accounts.sign_in_as_guest()[0]
    named, session = accounts.sign_in("Ada", RIGHT)[0], accounts.sign_in_as_guest()[1]
    accounts.issue_key(keyed.id, "test")
    for user in (lost, keyed, named):
        say(service, user, "I am Ada")
    begun = time.time()
    monkeypatch.setattr("time.time", lambda: begun + 20 * 86_400)
    assert accounts.come_back(session)
    service.delete_lost_guests()
    assert len(store.list_people()) == 4
    monkeypatch.setattr("time.time", lambda: begun + 40 * 86_400)
    accounts.sign_in_as_guest()
    service.delete_lost_guests()
    left = {person.user.id: person.turns for person in store.list_people()}
    assert lost.id not in left and left[keyed.id] == left[named.id] == 1
    assert len(left) == 4 and store.held_turns(lost.id) == []


def test_the_files_are_erased_once_for_all_lost_guests(
    service: Service, store: Store, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    erased = list[str]()
    monkeypatch.setattr(database, "erase_traces", lambda: erased.append("all files"))
    for _ in range(3):
        service.accounts.sign_in_as_guest()
    begun = time.time()
    monkeypatch.setattr("time.time", lambda: begun + 40 * 86_400)
    service.delete_lost_guests()
    assert (store.list_people(), erased) == ([], ["all files"])


def test_a_guest_can_stay_by_choosing_a_passphrase(door: Accounts) -> None:
    guest, session = door.sign_in_as_guest()
    stranger = door.sign_in_as_guest()[1]
    with pytest.raises(BadPassphrase):
        door.sign_in(guest.name, RIGHT, stranger)
    assert door.sign_in(guest.name, "", session)[0] == guest
    user, new = door.sign_in(guest.name, RIGHT, session)
    assert (user.id, door.owner_of_session(session)) == (guest.id, None)
    assert door.owner_of_session(new) is not None
    assert door.sign_in(guest.name, RIGHT)[0].id == guest.id
    with pytest.raises(BadPassphrase):
        door.sign_in(guest.name, "battery staple", new)


def test_the_first_to_be_guarded_is_admin_and_no_guest_is(door: Accounts, store: Store) -> None:
    guest = door.sign_in_as_guest()[0]
    first, second = (door.sign_in(name, RIGHT)[0] for name in ("Cid", "Dan"))
    people = {person.user.id: person for person in store.list_people()}
    assert [people[one.id].user.is_admin for one in (guest, first, second)] == [False, True, False]
    assert [people[one.id].opens_with for one in (guest, first, second)] == ["guest", "passphrase", "passphrase"]


def test_a_guest_who_stays_first_of_all_is_admin(door: Accounts) -> None:
    guest, session = door.sign_in_as_guest()
    door.sign_in(guest.name, RIGHT, session)
    assert door.sign_in(guest.name, RIGHT)[0].is_admin


def test_nobody_is_made_admin_beside_one(door: Accounts, store: Store) -> None:
    store.set_admin(store.ensure_user("Ada").id, True)
    assert not door.sign_in("Cid", RIGHT)[0].is_admin


def test_nobody_is_made_admin_where_somebody_has_come_in_with_hugging_face(door: Accounts, store: Store) -> None:
    door.sign_in_from_hub("64f1", "ada", False)
    stranger = door.sign_in("Cid", RIGHT)[0]
    assert not any(person.user.is_admin for person in store.list_people()) and not stranger.is_admin


def test_a_guest_who_leaves_comes_back_with_the_browsers_session(service: Service) -> None:
    handlers = Handlers(service)
    session, visitor, name, *_ = handlers.enter_as_guest("")
    assert visitor.owner().name == name
    handlers.leave(session)
    again, _, same, *_ = handlers.enter_as_guest(session)
    assert (again, same) == (session, name)
    other, _, another, *_ = handlers.enter_as_guest("unknown")
    assert other != session and another != name


def test_the_admin_sees_sizes_and_no_texts(service: Service, bob: User, admin: User) -> None:
    say(service, bob, "I drink tea")
    handlers = Handlers(service)
    owner = service.load_user("Ada")
    assert handlers.show_people_tab(owner)[0]["visible"]
    rows, *_ = handlers.show_people(Tab(), 1, owner)
    assert [row[:2] for row in rows] == [["Ada", 0], ["Bob", 1]]
    assert [row[-1] for row in rows] == ["passphrase (admin)", "name"]
    assert "tea" not in str(rows)


def test_the_admin_deletes_somebody_after_a_question(service: Service, store: Store, bob: User, admin: User) -> None:
    say(service, bob, "I drink tea")
    handlers, owner = Handlers(service), service.load_user("Ada")
    name, panel, question, _ = handlers.pick_person(Tab(), 1, owner, picking("Bob"))
    assert (name, panel["visible"]) == ("Bob", True)
    assert "Bob" in question
    rows, *_, outcome = handlers.delete_person(Tab(), 2, owner, name)
    assert [row[0] for row in rows] == ["Ada"]
    assert "Nothing is kept of Bob" in outcome
    assert store.find_user("Bob") is None


def test_the_admin_does_not_pick_themselves(service: Service, admin: User) -> None:
    name, *_, outcome = Handlers(service).pick_person(Tab(), 1, service.load_user("Ada"), picking("Ada"))
    assert name is None
    assert "This is you" in outcome


def test_nobody_else_gets_at_the_admins_tab(service: Service, store: Store, bob: User, admin: User) -> None:
    handlers = Handlers(service)
    for someone in (bob, replace(bob, name="Ada")):
        for act in (
            lambda user: handlers.show_people(Tab(), 1, user),
            lambda user: handlers.pick_person(Tab(), 1, user, picking("Ada")),
            lambda user: handlers.delete_person(Tab(), 1, user, "Ada"),
        ):
            with pytest.raises(NotAdmin):
                act(someone)
            with pytest.raises(NameMissing):
                act(None)
        assert handlers.show_people_tab(someone)[:2] == ({**gr.update(visible=False)}, [])
    assert store.find_user("Ada")


def test_who_is_admin_no_longer_is_so_at_once(service: Service, admin: User) -> None:
    _, visitor, *_ = Handlers(service).enter("Ada", RIGHT)
    assert visitor.owner().is_admin
    service.set_admin(admin.id, False)
    assert not visitor.owner().is_admin
