"""A file that is checked by itself: what it proves, and that nothing which was changed is taken for proven."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from app.errors import BadParcel
from app.ledger import linked
from app.portable import LEDGER, MANIFEST, PROOF, STATE, Proof, unwrap
from app.proof import checked
from app.receipts import verdict
from app.service import Service
from core.state import State
from storage.records import Turn, User
from storage.store import Store
from tests.app.conftest import say
from tests.app.test_portable import repacked
from tests.fakes import FakeEngine

LONGEST = 4000


@pytest.fixture
def told(service: Service, store: Store, ada: User) -> list[Turn]:
    for text in ("I am Ada", "I drink tea", "My cat is red"):
        say(service, ada, text)
    return store.held_turns(ada.id)


def proof_in(file: bytes) -> Proof:
    proof = unwrap(file).proof
    assert proof
    return proof


def test_receipts_are_found_in_the_file_alone(service: Service, ada: User, told: list[Turn]) -> None:
    first = service.forget_turns(ada.id, [told[1].id])
    say(service, ada, "I have a dog")
    found = checked(FakeEngine(), service.export_memory(ada.id), LONGEST)
    assert (found.turns, found.replayed, found.exactly) == (3, True, True)
    assert [(one.id, place) for one, place in found.receipts] == [(first.id, 2)]


def test_what_a_later_change_has_taken_away_is_said(service: Service, ada: User, told: list[Turn]) -> None:
    service.forget_turns(ada.id, [told[1].id])
    service.forget_turns(ada.id, [told[0].id])
    found = checked(FakeEngine(), service.export_memory(ada.id), LONGEST)
    assert [place for _, place in found.receipts] == [None, 1]


@pytest.mark.parametrize("everything", [True, False])
def test_where_all_was_forgotten_the_memory_begins_anew(
    service: Service, ada: User, told: list[Turn], everything: bool
) -> None:
    service.forget_everything(ada.id) if everything else service.forget_turns(ada.id, [turn.id for turn in told])
    say(service, ada, "I have a dog")
    found = checked(FakeEngine(), service.export_memory(ada.id), LONGEST)
    assert [place for _, place in found.receipts] == [0]


def test_nothing_of_what_was_forgotten_is_in_the_file(service: Service, ada: User, told: list[Turn]) -> None:
    service.forget_turns(ada.id, [told[1].id])
    file = service.export_memory(ada.id)
    said = hashlib.sha256(f"{told[1].user_text}\0{told[1].reply_text}".encode()).hexdigest()
    assert said not in {step.said for step in proof_in(file).steps}
    assert "tea" not in {word for entry in unwrap(file).entries for word in entry.user_text.split()}


def test_a_file_without_texts_is_checked_and_not_taken_in(service: Service, ada: User, told: list[Turn]) -> None:
    file = service.export_memory(ada.id, texts=False)
    assert not any(entry.user_text or entry.reply_text for entry in unwrap(file).entries)
    found = checked(FakeEngine(), file, LONGEST)
    assert (found.turns, found.replayed) == (3, False)
    with pytest.raises(BadParcel, match="without its texts"):
        service.import_memory(service.ensure_user("Bob").id, file)


def test_the_links_are_those_of_the_ledger(service: Service, ada: User, told: list[Turn]) -> None:
    assert [step.link for step in proof_in(service.export_memory(ada.id)).steps] == [turn.link for turn in told]


def test_a_memory_of_another_model_is_exported_without_a_proof(
    service: Service, engine: FakeEngine, ada: User, told: list[Turn]
) -> None:
    engine.fingerprint = "0ther" * 12
    with pytest.raises(BadParcel, match="no proof in it"):
        checked(FakeEngine(), service.export_memory(ada.id), LONGEST)


class Coarse(FakeEngine):
    """Folds as the other does, but for what another number type changes."""

    def fold(self, *told: Any, **how: Any) -> State:
        return State(super().fold(*told, **how).sums * 1.003)


def test_a_memory_that_was_folded_in_another_number_type_is_taken_in_but_proves_nothing(
    service: Service, ada: User, told: list[Turn], engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = service.export_memory(ada.id)
    with pytest.raises(BadParcel, match=r"0\.\d% away from what its turns give here: .* IMPRINT_DTYPE"):
        checked(Coarse(), file, LONGEST)
    monkeypatch.setattr(engine, "fold", Coarse().fold)
    found = service.verify(ada.id)
    assert found.is_of_another_number_type and not found.is_clean
    assert "or in another number type" in verdict(found)
    service.import_memory(service.ensure_user("Bob").id, file)
    assert service.verify(service.load_user("Bob").id).is_clean


def changed(part: str, change: Callable[[dict[str, bytes]], bytes]) -> Callable[[dict[str, bytes]], None]:
    """Put something else in the place of a part, with a manifest that agrees."""

    def change_and_agree(parts: dict[str, bytes]) -> None:
        parts[part] = change(parts)
        manifest = json.loads(parts[MANIFEST])
        manifest["digests"][part] = hashlib.sha256(parts[part]).hexdigest()
        parts[MANIFEST] = json.dumps(manifest).encode()

    return change_and_agree


def proof_with(change: Callable[[dict[str, list[dict[str, object]]]], object]) -> Callable[[dict[str, bytes]], None]:
    def rewritten(parts: dict[str, bytes]) -> bytes:
        proof = json.loads(parts[PROOF])
        change(proof)
        return json.dumps(proof).encode()

    return changed(PROOF, rewritten)


def no_numbers(parts: dict[str, bytes]) -> None:
    """A state of NaN, and links that agree with it."""
    state = State.from_bytes(parts[STATE])
    parts[STATE] = State(state.sums * torch.nan).to_bytes()
    proof = json.loads(parts[PROOF])
    last = proof["steps"][-1]
    last["state"] = hashlib.sha256(parts[STATE]).hexdigest()
    last["link"] = linked(proof["steps"][-2]["link"], last["said"], last["state"])
    changed(STATE, lambda _: parts[STATE])(parts)
    changed(PROOF, lambda _: json.dumps(proof).encode())(parts)


CHANGES = {  # the first two cannot be told from a file without texts
    "another text": changed(LEDGER, lambda parts: parts[LEDGER].replace(b"I am Ada", b"I am Bob")),
    "a state of no numbers": no_numbers,
    "another state": changed(STATE, lambda parts: parts[STATE][:-4] + b"\0\0\0\x40"),
    "a step too few": proof_with(lambda proof: proof["steps"].pop()),
    "two steps in each other's place": proof_with(lambda proof: proof["steps"].reverse()),
    "a text's digest": proof_with(lambda proof: proof["steps"][0].update(said="0" * 64)),
    "a state's digest": proof_with(lambda proof: proof["steps"][-1].update(state="0" * 64)),
    "a digest that is none": proof_with(lambda proof: proof["steps"][0].update(link="none")),
    "a receipt's digest that is none": proof_with(lambda proof: proof["receipts"][0].update(digest_after=7)),
    "a receipt's count that is none": proof_with(lambda proof: proof["receipts"][0].update(turns=-1)),
    "a receipt's time that is none": proof_with(lambda proof: proof["receipts"][0].update(created_at=float("nan"))),
    "a receipt's probe that is none": proof_with(lambda proof: proof["receipts"][0].update(probe=[1, 2])),
    "a receipt that is none": proof_with(lambda proof: proof["receipts"].append({"id": 1})),
    "no proof": lambda parts: parts.pop(PROOF) and None,
}


@pytest.mark.parametrize(
    ("change", "texts"), [*((name, True) for name in CHANGES), *((name, False) for name in [*CHANGES][2:])]
)
def test_what_was_changed_is_not_taken_for_proven(
    service: Service, ada: User, told: list[Turn], change: str, texts: bool
) -> None:
    service.forget_turns(ada.id, [told[1].id])
    file = service.export_memory(ada.id, texts)
    checked(FakeEngine(), file, LONGEST)
    with pytest.raises(BadParcel) as caught:
        checked(FakeEngine(), repacked(file, CHANGES[change]), LONGEST)
    assert "\n" not in str(caught.value)
    if texts and change != "no proof":
        with pytest.raises(BadParcel):
            service.import_memory(service.ensure_user("Bob").id, repacked(file, CHANGES[change]))
