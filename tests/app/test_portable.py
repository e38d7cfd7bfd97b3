"""A memory as a file: what goes out comes in elsewhere, and nothing that was changed does."""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from random import Random

import pytest

from app.errors import BadParcel, ShareFull
from app.portable import LEDGER, MANIFEST, PROOF, STATE, unwrap
from app.service import Service
from app.settings import Settings
from storage.database import file_url, open_database
from storage.errors import InvalidText, NotEmpty, NotFound
from storage.records import User
from storage.store import Store
from tests.app.conftest import loaded, say
from tests.fakes import FakeEngine


@pytest.fixture
def file(service: Service, ada: User) -> bytes:
    """Ada's memory of three turns in two conversations."""
    reply = service.send(ada.id, None, "I am Ada")
    reply.remembered.result(timeout=10)
    say(service, ada, "I drink tea", reply.turn.conversation_id)
    say(service, ada, "My cat is red, naïvely \U0001f600")
    return service.export_memory(ada.id)


@pytest.fixture
def elsewhere(tmp_path: Path, settings: Settings) -> Iterator[tuple[Service, Store]]:
    database = open_database(file_url(tmp_path / "elsewhere.db"))
    service = Service(Store(database), loaded(FakeEngine()), settings)
    yield service, Store(database)
    service.close()
    database.close()


def repacked(file: bytes, change: Callable[[dict[str, bytes]], None]) -> bytes:
    with zipfile.ZipFile(BytesIO(file)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    change(parts)
    changed = BytesIO()
    with zipfile.ZipFile(changed, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return changed.getvalue()


def test_a_memory_that_was_taken_in_is_the_same_and_clean(
    file: bytes, elsewhere: tuple[Service, Store], store: Store, ada: User
) -> None:
    service, there = elsewhere
    twin = there.ensure_user("Ada, elsewhere")
    assert service.import_memory(twin.id, file) == 3
    mine, theirs = store.load_memory(ada.id), there.load_memory(twin.id)
    assert mine and theirs
    assert (theirs.blob, theirs.header) == (mine.blob, mine.header)
    same = ("user_text", "reply_text", "created_at", "answered_at", "folded_at", "fold_seconds", "tokens", "link")
    pairs = zip(store.held_turns(ada.id), there.held_turns(twin.id), strict=True)
    assert all(getattr(one, name) == getattr(other, name) for one, other in pairs for name in same)
    assert [talk.turns for talk in there.list_conversations(twin.id)] == [1, 2]
    assert service.verify(twin.id).is_clean


def test_the_same_memory_is_the_same_file_whenever_it_is_taken_along(
    file: bytes, service: Service, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = time.localtime(time.time() + 86_400)
    monkeypatch.setattr(time, "localtime", lambda *_: later)  # what a zip dates its parts by
    assert service.export_memory(ada.id) == file


def test_a_memory_that_was_taken_in_goes_on(file: bytes, elsewhere: tuple[Service, Store]) -> None:
    service, there = elsewhere
    twin = there.ensure_user("Twin")
    service.import_memory(twin.id, file)
    assert say(service, twin, "And a dog")[0] == "I know ada cat tea red."
    assert service.verify(twin.id).is_clean
    service.forget_turns(twin.id, [there.held_turns(twin.id)[1].id])
    assert say(service, twin, "What do you know?")[0] == "I know ada cat dog red."


def test_a_person_who_has_turns_takes_nothing_in(file: bytes, service: Service, store: Store, ada: User) -> None:
    before = store.held_turns(ada.id), store.load_memory(ada.id)
    with pytest.raises(NotEmpty, match="under another name"):
        service.import_memory(ada.id, file)
    assert (store.held_turns(ada.id), store.load_memory(ada.id)) == before


def test_a_memory_of_another_model_is_named(file: bytes, store: Store, bob: User, settings: Settings) -> None:
    other = Service(store, loaded(FakeEngine(fingerprint="0ther" * 12)), settings)
    with pytest.raises(BadParcel, match=r"fa4efa4efa4e.*0ther0ther0t"):
        other.import_memory(bob.id, file)
    assert not store.held_turns(bob.id)


def test_a_refused_memory_leaves_no_name_behind(file: bytes, store: Store, settings: Settings) -> None:
    full = Service(store, loaded(FakeEngine()), settings.model_copy(update={"megabytes_each": 0.000001}))
    other = Service(store, loaded(FakeEngine(fingerprint="0ther" * 12)), settings)
    for service, refusal in ((full, ShareFull), (other, BadParcel)):
        with pytest.raises(refusal):
            service.import_as("Cid", file)
        assert store.find_user("Cid") is None


def without_proof(parts: dict[str, bytes]) -> None:
    """As of a memory that another model had made."""
    del parts[PROOF]
    manifest = json.loads(parts[MANIFEST])
    del manifest["digests"][PROOF]
    parts[MANIFEST] = json.dumps(manifest).encode()


def ledger_with(change: Callable[[dict[str, object]], None], honest: bool) -> Callable[[dict[str, bytes]], None]:
    """Change the first turn, with or without a manifest that agrees."""

    def changed(parts: dict[str, bytes]) -> None:
        import hashlib

        first, *rest = parts[LEDGER].decode().splitlines()
        entry = json.loads(first)
        change(entry)
        parts[LEDGER] = "\n".join([json.dumps(entry), *rest, ""]).encode()
        if honest:
            manifest = json.loads(parts[MANIFEST])
            manifest["digests"][LEDGER] = hashlib.sha256(parts[LEDGER]).hexdigest()
            parts[MANIFEST] = json.dumps(manifest).encode()

    return changed


CHANGES: dict[str, Callable[[dict[str, bytes]], None]] = {
    "another text": ledger_with(lambda entry: entry.update(user_text="I am Bob"), honest=False),
    "another text, and a manifest to match": ledger_with(lambda entry: entry.update(user_text="I am Bob"), honest=True),
    "a turn that was never folded": ledger_with(lambda entry: entry.update(folded_at=None), honest=True),
    "a time that is none": ledger_with(lambda entry: entry.update(created_at=float("nan")), honest=True),
    "a time that lies ahead": ledger_with(lambda entry: entry.update(folded_at=1e18), honest=True),
    "a time before all others": ledger_with(lambda entry: entry.update(created_at=-1.0), honest=True),
    "more tokens than there can be": ledger_with(lambda entry: entry.update(tokens=10**12), honest=True),
    "a pin that is none": ledger_with(lambda entry: entry.update(pinned="yes"), honest=True),
    "a text beyond its length": ledger_with(lambda entry: entry.update(user_text="a" * 4001), honest=True),
    "a text that is none": ledger_with(lambda entry: entry.update(user_text=7), honest=True),
    "a field too many": ledger_with(lambda entry: entry.update(admin=True), honest=True),
    "a flipped bit of the state": lambda parts: parts.update(
        {STATE: parts[STATE][:-1] + bytes([parts[STATE][-1] ^ 1])}
    ),
    "no ledger": lambda parts: parts.pop(LEDGER) and None,
    "a later format": lambda parts: parts.update(
        {MANIFEST: parts[MANIFEST].replace(b'"format": 1', b'"format": 9', 1)}
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_was_changed_is_refused_and_nothing_is_stored(
    file: bytes, service: Service, store: Store, bob: User, change: str
) -> None:
    with pytest.raises(BadParcel) as caught:
        service.import_memory(bob.id, repacked(file, CHANGES[change]))
    assert str(caught.value).count(".") <= 4 and "\n" not in str(caught.value)
    assert not store.held_turns(bob.id) and store.load_memory(bob.id) is None


def test_whoever_is_deleted_meanwhile_is_not_made_anew(
    file: bytes, service: Service, store: Store, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.upkeep.check_arriving", lambda *_: store.delete_user(bob.id))
    with pytest.raises(NotFound):
        service.import_memory(bob.id, file)
    assert store.find_user("Bob") is None and store.list_receipts(bob.id) == []


@pytest.mark.parametrize("size", [0, 10, 200, -1])
def test_a_truncated_file_is_refused(file: bytes, size: int) -> None:
    with pytest.raises(BadParcel):
        unwrap(file[:size])


@pytest.mark.parametrize("texts", [True, False])
def test_every_flipped_bit_is_refused_or_changes_nothing(service: Service, ada: User, texts: bool) -> None:
    say(service, ada, "I drink tea")
    service.forget_turns(ada.id, [service.held_turns(ada.id)[0].id])
    say(service, ada, "My cat is red")
    file, rng, refused = service.export_memory(ada.id, texts), Random(0), 0
    for _ in range(1000):
        flipped = bytearray(file)
        flipped[rng.randrange(len(file))] ^= 1 << rng.randrange(8)
        try:
            assert unwrap(bytes(flipped)) == unwrap(file)
        except BadParcel:
            refused += 1
    assert refused > 500


def test_a_text_that_no_database_keeps_is_refused(file: bytes, service: Service, store: Store, bob: User) -> None:
    odd = repacked(file, ledger_with(lambda entry: entry.update(reply_text="\ud800"), honest=True))
    with pytest.raises(BadParcel):
        service.import_memory(bob.id, odd)
    nul = repacked(file, ledger_with(lambda entry: entry.update(reply_text="\0"), honest=True))
    with pytest.raises(InvalidText):
        service.import_memory(bob.id, repacked(nul, without_proof))
    assert not store.held_turns(bob.id)


def test_nothing_is_exported_where_nothing_is_held(service: Service, bob: User) -> None:
    with pytest.raises(BadParcel, match="nothing in this memory"):
        service.export_memory(bob.id)
