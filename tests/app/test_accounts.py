"""Who gets in under a name: whoever guards it, and nobody by guessing."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.accounts import FAILURES, SECONDS, SESSION_DAYS, Accounts
from app.errors import BadPassphrase, NameMissing
from app.guards import SAME, guarded
from app.handlers import Handlers
from app.service import Service
from app.settings import Settings
from app.tab import Tab
from storage.database import Database
from storage.errors import InvalidName
from storage.records import User
from storage.store import Store
from tests.app.conftest import loaded, say
from tests.fakes import FakeEngine

RIGHT, WRONG = "correct horse", "battery staple"


class Clock:
    """A clock that stands until it is turned."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_door(store: Store, clock: Clock) -> Accounts:
    return Accounts(store, required=False, clock=clock)


@pytest.fixture
def shut_door(store: Store, clock: Clock) -> Accounts:
    return Accounts(store, required=True, clock=clock)


def entered(door: Accounts, name: str, passphrase: str) -> User:
    return door.sign_in(name, passphrase)[0]


def test_a_name_that_nobody_guards_is_open(open_door: Accounts, ada: User) -> None:
    assert entered(open_door, "Ada", "") == ada
    assert entered(open_door, "New", "").name == "New"


def test_the_first_passphrase_guards_a_name_from_then_on(open_door: Accounts, ada: User) -> None:
    assert entered(open_door, "Ada", RIGHT) == ada
    assert entered(open_door, "Ada", RIGHT) == ada
    for passphrase in ("", WRONG, RIGHT.upper(), RIGHT + " ", "\ud800" * 9):
        with pytest.raises(BadPassphrase, match="guarded"):
            entered(open_door, "Ada", passphrase)


def test_where_names_need_a_passphrase_nobody_gets_in_without(shut_door: Accounts, store: Store, ada: User) -> None:
    for passphrase in ("", "short", "x" * 201):
        with pytest.raises(BadPassphrase, match="8 to 200"):
            entered(shut_door, "New", passphrase)
    assert store.find_user("New") is None
    user = entered(shut_door, "New", RIGHT)
    assert entered(shut_door, "New", RIGHT) == user
    with pytest.raises(BadPassphrase, match="before"):
        entered(shut_door, "Ada", RIGHT)


def test_the_operator_may_give_a_name_another_passphrase(shut_door: Accounts, ada: User) -> None:
    shut_door.guard(ada.id, RIGHT)
    assert entered(shut_door, "Ada", RIGHT) == ada
    shut_door.guard(ada.id, WRONG)
    with pytest.raises(BadPassphrase):
        entered(shut_door, "Ada", RIGHT)
    with pytest.raises(BadPassphrase, match="8 to 200"):
        shut_door.guard(ada.id, "short")


def test_guessing_is_slow_and_waiting_helps(open_door: Accounts, clock: Clock, ada: User, bob: User) -> None:
    entered(open_door, "Ada", RIGHT)
    for _ in range(FAILURES):
        with pytest.raises(BadPassphrase, match="guarded"):
            entered(open_door, "Ada", WRONG)
    with pytest.raises(BadPassphrase, match="too many"):
        entered(open_door, "Ada", RIGHT)
    assert entered(open_door, "Bob", "") == bob
    clock.now = SECONDS
    assert entered(open_door, "Ada", RIGHT) == ada


def test_many_guesses_at_once_do_not_slip_through(open_door: Accounts, ada: User) -> None:
    entered(open_door, "Ada", RIGHT)

    def guess(number: int) -> str:
        with pytest.raises(BadPassphrase) as refused:
            entered(open_door, "Ada", f"{WRONG} {number}")
        return str(refused.value)

    with ThreadPoolExecutor(12) as pool:
        said = list(pool.map(guess, range(12)))
    assert sum("too many" not in text for text in said) == FAILURES


def test_of_two_who_want_a_new_name_at_once_one_gets_it(shut_door: Accounts) -> None:
    def enter(passphrase: str) -> str:
        try:
            return entered(shut_door, "New", passphrase).name
        except BadPassphrase:
            return "refused"

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(enter, (RIGHT, WRONG))) == ["New", "refused"]


def test_a_passphrase_is_nowhere_in_the_database(
    open_door: Accounts, database: Database, settings: Settings, ada: User
) -> None:
    entered(open_door, "Ada", RIGHT)
    folder = Path(settings.database_url.removeprefix("sqlite:///")).parent
    assert [path.name for path in folder.iterdir() if RIGHT.encode() in path.read_bytes()] == []


def test_a_name_that_nobody_can_have_is_refused_first(shut_door: Accounts) -> None:
    with pytest.raises(InvalidName):
        entered(shut_door, " ", RIGHT)


def test_the_page_lets_nobody_see_a_guarded_memory(service: Service, ada: User) -> None:
    say(service, ada, "I am Ada")
    handlers = Handlers(service)
    _, visitor, *rest = handlers.enter("Ada", RIGHT)
    assert (visitor.owner(), *rest[:2]) == (ada, "Ada", "")
    [shown] = guarded(handlers.enter, [SAME] * 8)("Ada", WRONG)
    assert shown[:-1] == (SAME,) * 8
    assert "guarded by a passphrase" in shown[-1]


def test_a_space_asks_for_passphrases_and_listens_to_all(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPACE_ID", "someone/imprint")
    settings = Settings(model=tmp_path, database_url="sqlite://")
    assert (settings.host, settings.port, settings.passphrases) == ("0.0.0.0", 7860, True)
    service = Service(store, loaded(FakeEngine()), settings)
    with pytest.raises(BadPassphrase):
        service.accounts.sign_in("Ada", "")
    service.close()


def test_a_browser_comes_back_until_it_leaves(service: Service, ada: User) -> None:
    handlers = Handlers(service)
    session, *_ = handlers.enter("Ada")
    again, visitor, *rest = handlers.resume(Tab(), 0, session)
    assert (again, visitor.owner(), *rest[:2]) == (session, ada, "Ada", "")
    assert handlers.leave(session)[:4] == ("", None, "", "")
    for gone in (session, "", None, "\ud800", "x" * 10_000):
        assert handlers.resume(Tab(), 0, gone) == (SAME,) * 9


def test_a_session_ends_by_itself(open_door: Accounts, ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    session = open_door.sign_in("Ada", "")[1]
    assert open_door.owner_of_session(session) == ada
    later = time.time() + (SESSION_DAYS + 1) * 86_400
    monkeypatch.setattr("storage.credentials.time.time", lambda: later)
    assert open_door.owner_of_session(session) is None


def test_a_new_passphrase_closes_what_was_open(open_door: Accounts, ada: User, bob: User) -> None:
    """Whoever was in under a name while it was open must not stay when somebody guards it."""
    before, other = open_door.sign_in("Ada", "")[1], open_door.sign_in("Bob", "")[1]
    entered(open_door, "Ada", RIGHT)
    assert open_door.owner_of_session(before) is None
    after = open_door.sign_in("Ada", RIGHT)[1]
    open_door.guard(ada.id, RIGHT + WRONG)
    assert open_door.owner_of_session(after) is None
    assert open_door.owner_of_session(other) == bob


def test_no_session_is_in_the_database(open_door: Accounts, ada: User, settings: Settings) -> None:
    session = open_door.sign_in("Ada", "")[1]
    folder = Path(settings.database_url.removeprefix("sqlite:///")).parent
    assert not [file for file in folder.iterdir() if file.is_file() and session.encode() in file.read_bytes()]


def test_whoever_sits_before_an_open_page_is_out_once_the_name_is_guarded(service: Service, ada: User) -> None:
    say(service, ada, "I am Ada")
    handlers = Handlers(service)
    _, stranger, *_ = handlers.enter("Ada")
    _, owner, *_ = handlers.enter("Ada", RIGHT)
    [shown] = guarded(handlers.pick, [SAME] * 5)(Tab(), 0, stranger, None)
    assert shown[:-1] == (SAME,) * 5 and "You are signed out of Ada" in shown[-1]
    [shown] = guarded(handlers.search_ledger, [SAME])(Tab(), 0, owner, "")
    assert shown[0][0][2] == "I am Ada"


def test_entering_another_name_ends_the_session_before(service: Service) -> None:
    handlers = Handlers(service)
    session, visitor, *_ = handlers.enter("Ada")
    handlers.enter("Bob", "", session)
    with pytest.raises(NameMissing, match="signed out"):
        visitor.owner()


def test_where_names_need_passphrases_an_older_session_of_an_open_name_is_over(
    open_door: Accounts, shut_door: Accounts, ada: User
) -> None:
    session = open_door.sign_in("Ada", "")[1]
    assert shut_door.owner_of_session(session) is None
    guarded_one = shut_door.sign_in("Cid", RIGHT)[1]
    assert shut_door.owner_of_session(guarded_one) == entered(shut_door, "Cid", RIGHT)


def test_nobody_slips_in_while_a_name_is_being_guarded(open_door: Accounts, store: Store, ada: User) -> None:
    assert not store.open_session(ada.id, "d" * 64, time.time() + 9, "another hash")
    assert store.owner_of_session("d" * 64) is None
