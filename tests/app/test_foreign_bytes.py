"""Bytes from elsewhere, whatever they are: refused in one sentence, or read; never another error."""

from __future__ import annotations

import hashlib
import json
import zipfile
from io import BytesIO
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import BadMessage, BadParcel, BadStrength
from app.intake import checked_strength, checked_title, text_from_bytes, text_of
from app.portable import LEDGER, MANIFEST, PROOF, STATE, Parcel, unwrap
from app.proof import checked
from core.errors import StateError
from core.state import State
from tests.fakes import FakeEngine
from tests.tiny import tiny_engine

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
FIELDS = {"conversation": 0, "user_text": "I am Ada", "reply_text": "Hello.", "created_at": 1.0, "answered_at": 1.0}
ENTRY = FIELDS | {"folded_at": 1.0, "fold_seconds": 0.1, "tokens": 4, "pinned": False}
RECEIPT = {"id": 1, "user_id": 1, "created_at": 1.0, "turns": 1, "conversations": 0, "text_bytes": 9}
RECEIPT |= {"digest_before": "a" * 64, "digest_after": "", "probe": {"before": 1.0, "after": 0.0}}
quick = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


def parcel(entry: object, proof: object, state: bytes) -> bytes:
    """A file whose manifest agrees with whatever is in it."""
    parts = {STATE: state, LEDGER: (json.dumps(entry) + "\n").encode(), PROOF: json.dumps(proof).encode()}
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in parts.items()}
    manifest = {"format": 1, "fingerprint": "fa4e" * 16, "state_format": 1, "turns": 1, "digests": digests}
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in ({MANIFEST: json.dumps(manifest).encode()} | parts).items():
            archive.writestr(name, data)
    return file.getvalue()


def refused_or_read(file: bytes) -> Parcel | None:
    try:
        return unwrap(file)
    except BadParcel as error:
        assert "\n" not in str(error)
        return None


@quick
@given(st.binary(max_size=400))
def test_bytes_that_are_no_file_are_refused(data: bytes) -> None:
    assert refused_or_read(data) is None


@quick
@given(st.sampled_from(list(ENTRY)), JSON)
def test_an_entry_with_a_strange_field_is_refused_or_plain(name: str, value: object) -> None:
    found = refused_or_read(parcel(ENTRY | {name: value}, {"steps": [], "receipts": []}, b""))
    if found:
        (entry,) = found.entries
        assert isinstance(entry.user_text, str) and isinstance(entry.pinned, bool) and entry.created_at >= 0


@quick
@given(st.sampled_from(list(RECEIPT)), JSON)
def test_a_receipt_with_a_strange_field_is_refused_or_plain(name: str, value: object) -> None:
    found = refused_or_read(parcel(ENTRY, {"steps": [], "receipts": [RECEIPT | {name: value}]}, b""))
    if found and found.proof:
        (receipt,) = found.proof.receipts
        assert isinstance(receipt.digest_after, str) and receipt.turns >= 0


@quick
@given(JSON, JSON)
def test_a_file_of_any_json_is_refused(entry: object, proof: object) -> None:
    assert refused_or_read(parcel(entry, proof, b"")) is None


@quick
@given(st.binary(max_size=200))
def test_a_state_of_any_bytes_is_refused(data: bytes) -> None:
    with pytest.raises(StateError):
        State.from_bytes(data)
    with pytest.raises((BadParcel, StateError)):
        checked(FakeEngine(), parcel(ENTRY, {"steps": [], "receipts": []}, data), 4000)  # type: ignore[arg-type]


@quick
@given(st.data())
def test_a_damaged_state_is_refused_or_a_state(data: st.DataObject) -> None:
    blob = bytearray(tiny_state())
    for _ in range(data.draw(st.integers(1, 8))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert State.from_bytes(bytes(blob)).sums.ndim == 3
    except StateError as error:
        assert "\n" not in str(error)


def tiny_state(kept: list[bytes] = []) -> bytes:  # noqa: B006 - made once
    if not kept:
        kept.append(tiny_engine().empty_state().to_bytes())
    return kept[0]


@quick
@given(JSON | st.binary(max_size=50), st.binary(max_size=50))
def test_what_a_page_or_a_terminal_hands_over_is_a_text_or_refused(content: Any, line: bytes) -> None:
    assert isinstance(text_of(content), str)
    for read in (lambda: text_from_bytes(line), lambda: checked_title(text_of(content))):
        try:
            assert isinstance(read(), str)
        except BadMessage as error:
            assert "\n" not in str(error)
    try:
        assert 0 <= checked_strength(content) <= 1
    except BadStrength as error:
        assert "\n" not in str(error)
