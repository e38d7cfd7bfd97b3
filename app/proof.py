"""What the file of a memory proves by itself: that its state comes of its turns and no others, and what was forgotten.

A memory that is the fold of the turns in the file holds nothing of any other turn: that is what a receipt promises.
Works on an engine and the bytes of a file; knows no database.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.errors import BadParcel
from app.ledger import COARSE, SHORT, digest, digest_of, distance, linked, replay, said_in, turn_of, unpack
from app.portable import Parcel, Proof, Step, unwrap
from storage.records import Memory, Packed, Receipt, Turn

if TYPE_CHECKING:
    from core.engine import Engine

LONGEST_REPLY = 100_000  # characters
ROUNDING = 1e-4  # of another machine, relative to the largest entry of a state


@dataclass(frozen=True)
class Finding:
    """What a file was found to be; whatever it is not is refused with BadParcel.

    `replayed` says whether the turns were folded again, which takes their texts, and `exactly` whether that gave the
    state bit for bit, or up to another machine's rounding. `receipts` has, for each receipt, after how many of the
    turns in the file its state is found again; None where what came before it has changed since.
    """

    turns: int
    replayed: bool
    exactly: bool
    receipts: list[tuple[Receipt, int | None]]

    def fields(self) -> dict[str, Any]:
        """As the terminal gives it."""
        found = [{"receipt": one.id, "turns": one.turns, "found_after": place} for one, place in self.receipts]
        return {"turns": self.turns, "replayed": self.replayed, "exactly": self.exactly, "receipts": found}


def proven(engine: Engine, memory: Memory, turns: Sequence[Turn], receipts: Sequence[Receipt]) -> Proof | None:
    """The proof of a memory; None where its turns give another state, bit for bit. Costs one forward pass per turn."""
    again = replay(engine, turns)
    if digest_of(again.state) != memory.header.digest:
        return None
    steps = [Step(said_in(turn), state, again.links[turn.id]) for turn, state in zip(turns, again.digests, strict=True)]
    return Proof(steps, sorted(receipts, key=lambda one: one.id))


def check_arriving(engine: Engine, parcel: Parcel, longest: int) -> None:
    """Raise BadParcel unless this model made what a file holds of the turns that are in it.

    Costs one forward pass per turn, each of at most `longest` characters of a person's.
    """
    if not parcel.has_texts:
        raise BadParcel("The file was made without its texts, so it can be checked but not taken in; export it with.")
    if parcel.proof:
        _check_chain(parcel, parcel.proof)
    # The state that is kept is the one that is folded here; that the turns are those of the file's the chain says.
    _replayed(engine, parcel, longest, COARSE if parcel.proof else ROUNDING)


def checked(engine: Engine, data: bytes, longest: int) -> Finding:
    """Hold a file against itself: every link, every receipt, and, where it has texts, the fold of its turns.

    Raise BadParcel for one that is not what it says.
    """
    parcel = unwrap(data)
    if parcel.proof is None:
        raise BadParcel("The file has no proof in it: rebuild the memory that it came from, and export it again.")
    _check_chain(parcel, parcel.proof)
    exactly = parcel.has_texts and _replayed(engine, parcel, longest)
    if not parcel.has_texts:
        _check_maker(engine, parcel.packed)
    states = ["", digest_of(engine.empty_state()), *(step.state for step in parcel.proof.steps)]
    places = {state: max(0, number - 1) for number, state in enumerate(states)}
    found = [(receipt, places.get(receipt.digest_after)) for receipt in parcel.proof.receipts]
    return Finding(len(parcel.entries), parcel.has_texts, exactly, found)


def _replayed(engine: Engine, parcel: Parcel, longest: int, nearly: float = ROUNDING) -> bool:
    """Whether folding the turns gives the state bit for bit; raise BadParcel where it is not even `nearly` that one."""
    if any(len(entry.user_text) > longest or len(entry.reply_text or "") > LONGEST_REPLY for entry in parcel.entries):
        raise BadParcel(f"The file has a message of more than {longest:,} characters; it cannot be taken in here.")
    _check_maker(engine, parcel.packed)
    again = replay(engine, [turn_of(entry, number) for number, entry in enumerate(parcel.entries)])
    apart = distance(unpack(parcel.packed.blob), again.state)
    if not apart <= COARSE:
        raise BadParcel("The file's state is not what its turns give; it was changed, so export it again.")
    if not apart <= nearly:
        raise BadParcel(
            f"The file's state is {apart:.1%} away from what its turns give here: it was changed, or folded in another "
            "number type; check it with IMPRINT_DTYPE as it was there."
        )
    return digest_of(again.state) == digest(parcel.packed.blob)


def _check_maker(engine: Engine, packed: Packed) -> None:
    if packed.fingerprint != engine.fingerprint:
        raise BadParcel(
            f"The file's memory was made by model {packed.fingerprint[:SHORT]}, but model "
            f"{engine.fingerprint[:SHORT]} ({engine.name}) is running: start with the first one to take it in."
        )


def _check_chain(parcel: Parcel, proof: Proof) -> None:
    """Raise BadParcel unless every link follows from the one before, and the last names the state in the file."""
    link, entries = "", parcel.entries
    if len(proof.steps) != len(entries):
        raise BadParcel(f"The file proves {len(proof.steps)} turns and holds {len(entries)}; it was changed.")
    for number, (step, entry) in enumerate(zip(proof.steps, entries, strict=True), 1):
        link = linked(link, step.said, step.state)
        if link != step.link or (parcel.has_texts and step.said != said_in(entry)):
            raise BadParcel(f"The file's chain breaks at turn {number} of {len(entries)}; it was changed.")
    if proof.steps and proof.steps[-1].state != digest(parcel.packed.blob):
        raise BadParcel("The file's state is not the one that its chain ends in; it was changed.")
