"""The words for what was forgotten, and for what a check of a memory or of a file has found.

Plain values in, text out: no components, no rules.
"""

from __future__ import annotations

from app.ledger import SHORT, Verification
from app.proof import Finding
from app.readout import SURE
from app.wording import counted, moment, sized, status
from storage.records import Probe, Receipt


def receipt_in_words(receipt: Receipt) -> str:
    """What was removed, and the state before and after."""
    removed = f"{counted(receipt.turns, 'turn')} and {counted(receipt.conversations, 'conversation')}"
    states = f"state {receipt.digest_before[:SHORT] or 'none'} -> {receipt.digest_after[:SHORT] or 'none'}"
    size = f"{sized(receipt.text_bytes)} of text"
    found = _probed(receipt.probe) if receipt.probe else ""
    return f"Receipt {receipt.id}, {moment(receipt.created_at)}: forgot {removed} ({size}); {states}{found}"


def _probed(probe: Probe) -> str:
    """What memory makes of the words that were forgotten; that it still does is worth saying."""
    change = f"; memory spoke for the words by {probe.before:.1f} nats a turn, and now by {probe.after:.1f}"
    return change + (": something else still says so" if probe.after >= SURE else "")


def receipt_shown(receipt: Receipt) -> str:
    """A receipt as a quiet line."""
    return status(receipt_in_words(receipt))


def verdict(found: Verification) -> str:
    """What a replay of the ledger has found."""
    held = counted(found.turns, "turn")
    if found.is_of_another_number_type:
        return (
            f"Not what the ledger gives, by {found.difference:.2%}: it was folded on another device or in another "
            "number type, or its first turn was changed. Verify it where it was folded, or rebuild the memory."
        )
    if not found.is_clean:
        where = "the state" if found.broken is None else f"the chain at turn {found.broken}"
        apart = f"state by up to {found.difference:.2g} of its largest entry"
        return f"Not what the ledger gives: {where} differs ({apart}); rebuild the memory."
    unlinked = f", {found.unlinked} of them folded before there was a chain" if found.unlinked else ""
    return f"Clean: {held} replayed{unlinked}, and the state is the stored one bit for bit."


def finding(found: Finding) -> list[str]:
    """What a file was found to prove, and each of its receipts."""
    held = counted(found.turns, "turn")
    state = f"its state is theirs {'bit for bit' if found.exactly else 'up to the rounding of another machine'}"
    replayed = f"{held} replayed, and {state}" if found.replayed else f"{held} without texts, linked to its state"
    receipts = [f"{receipt_in_words(one)}: {_place(place)}" for one, place in found.receipts]
    alone = " Nothing of any other turn is in it." if found.replayed else ""
    return [f"Whole: {replayed}.{alone}", *receipts]


def _place(turns: int | None) -> str:
    return "what was before it has changed since" if turns is None else f"holds after {counted(turns, 'turn')}"
