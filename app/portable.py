"""A memory as one file, `NAME.imprint`: a zip of state, ledger and proof, and a manifest that names them all.

What is opened is checked against the manifest here, and against a replay by whoever takes it in. Bytes in, plain values
out: knows no engine and no database.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
import time
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from math import isfinite
from typing import Any

from app.errors import BadParcel
from storage.records import Entry, Memory, Packed, Probe, Receipt, Turn

FORMAT = 1
MANIFEST, STATE, LEDGER, PROOF = "manifest.json", "state.safetensors", "ledger.jsonl", "proof.json"
LARGEST, MOST_TURNS = 1 << 26, 20_000  # bytes that a file unpacks to, and turns: more is no memory
DAMAGES = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError),
    *(AttributeError, KeyError, TypeError, ValueError, RuntimeError, OverflowError),  # RuntimeError: it is encrypted
)
"""What reading a file that was changed can raise; NotImplementedError and RecursionError are RuntimeErrors."""
DIGEST = re.compile("[0-9a-f]{64}")
LATEST, LONGEST = 86_400.0, 1e7  # seconds that a time may lie ahead; of a fold, and its tokens


@dataclass(frozen=True)
class Step:
    """The digests of a turn's texts and of the state after it, and the link of both to the step before."""

    said: str
    state: str
    link: str


@dataclass(frozen=True)
class Proof:
    """How the state came of its turns, step by step, and the receipts of what was forgotten, oldest first."""

    steps: list[Step]
    receipts: list[Receipt]


@dataclass(frozen=True)
class Parcel:
    """What a file holds: the state, the turns in the order of their folding, and a proof, if it was made with one.

    Where it was made without texts those of the entries are empty.
    """

    packed: Packed
    entries: list[Entry]
    proof: Proof | None
    has_texts: bool

    @property
    def conversations(self) -> int:
        """How many conversations its turns are from."""
        return len({entry.conversation for entry in self.entries})

    @property
    def size(self) -> int:
        """Bytes of the state and of the texts, as they are kept: the file may be a fraction of that."""
        texts = (text for entry in self.entries for text in (entry.user_text, entry.reply_text or ""))
        return len(self.packed.blob) + sum(len(text.encode()) for text in texts)


def wrap(memory: Memory, turns: Sequence[Turn], proof: Proof | None, texts: bool = True) -> bytes:
    """The file of a memory and its ledger, whose texts stay out where `texts` is false; of the same, the same bytes."""
    numbers = {talk: number for number, talk in enumerate(dict.fromkeys(turn.conversation_id for turn in turns))}
    entries = [_entry(turn, numbers[turn.conversation_id]) for turn in turns]
    entries = entries if texts else [replace(entry, user_text="", reply_text=None) for entry in entries]
    parts = {STATE: memory.blob, LEDGER: "".join(_line(asdict(entry)) for entry in entries).encode()}
    parts |= {PROOF: _line(asdict(proof)).encode()} if proof else {}
    manifest = {
        "format": FORMAT,
        "fingerprint": memory.header.fingerprint,
        "state_format": memory.header.format_version,
        "turns": len(turns),
        "texts": texts,
        "digests": {name: _digest(data) for name, data in parts.items()},
    }
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in ({MANIFEST: _line(manifest).encode()} | parts).items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)  # dated 1980, not now
    return file.getvalue()


def unwrap(data: bytes) -> Parcel:
    """What a file holds; raise BadParcel, with one sentence, for anything that is not whole and unchanged."""
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            if sum(info.file_size for info in archive.infolist()) > LARGEST:
                raise BadParcel(f"The file unpacks to more than {LARGEST:,} bytes; it is not a memory.")
            manifest: dict[str, Any] = json.loads(archive.read(MANIFEST))
            if (version := manifest.get("format")) != FORMAT:
                raise BadParcel(
                    f"The file has format {version}, and this version of Imprint reads {FORMAT}; update it."
                )
            named = [STATE, LEDGER, *({PROOF} & set(manifest["digests"]))]
            parts = {name: archive.read(name) for name in named}
        for name, part in parts.items():
            if _digest(part) != manifest["digests"][name]:
                raise BadParcel(f"The file was changed: its {name} is not what its manifest says; export it again.")
        lines = parts[LEDGER].decode().splitlines()
        if len(lines) > MOST_TURNS:
            raise BadParcel(f"The file holds {len(lines):,} turns, and at most {MOST_TURNS:,} are taken in.")
        entries = [_sound(Entry(**json.loads(line))) for line in lines]
        packed = Packed(parts[STATE], manifest["fingerprint"], manifest["state_format"])
        proof = _proof(json.loads(parts[PROOF])) if PROOF in parts else None
        return Parcel(packed, entries, proof, manifest.get("texts", True) is True)
    except DAMAGES as error:
        raise BadParcel("The file is not a memory that Imprint exported, or not all of it; export it again.") from error


def _sound(entry: Entry) -> Entry:
    """The entry, if every field is what its type says; TypeError or ValueError if not."""
    texts, numbers = (entry.user_text, entry.reply_text or ""), (entry.created_at, entry.folded_at)
    optional = [value for value in (entry.answered_at, entry.fold_seconds, entry.tokens) if value is not None]
    kinds = isinstance(entry.conversation, int) and isinstance(entry.pinned, bool)
    if not kinds or not all(isinstance(text, str) for text in texts):
        raise TypeError("a text, a conversation or a pin is none")
    if not all(
        isinstance(number, int | float) and isfinite(number) and number >= 0 for number in (*numbers, *optional)
    ):
        raise TypeError("a time or a count is no number")
    latest = time.time() + LATEST
    times = (entry.created_at, entry.folded_at or 0.0, entry.answered_at or 0.0)
    if max(times) > latest or max(entry.fold_seconds or 0.0, entry.tokens or 0) > LONGEST:
        raise ValueError("a time lies ahead, or a count is beyond reason")
    "".join(texts).encode()
    return entry


def _proof(value: dict[str, Any]) -> Proof:
    """The proof, if every field is what its type says; TypeError or ValueError if not."""
    steps = [Step(**step) for step in value["steps"]]
    receipts = [
        Receipt(**one | {"probe": Probe(**one["probe"]) if one["probe"] else None}) for one in value["receipts"]
    ]
    digests = [text for step in steps for text in vars(step).values()]
    digests += [text for one in receipts for text in (one.digest_before, one.digest_after) if text != ""]
    if not all(isinstance(text, str) and DIGEST.fullmatch(text) for text in digests):
        raise TypeError("a digest is none")
    counts = [number for one in receipts for number in (one.id, one.turns, one.conversations, one.text_bytes)]
    numbers = [
        number for one in receipts for number in (one.created_at, *(vars(one.probe).values() if one.probe else ()))
    ]
    if not all(type(number) is int and 0 <= number <= LONGEST for number in counts):
        raise TypeError("a count is none")
    if not all(type(number) in (int, float) and abs(number) <= time.time() + LATEST for number in numbers):
        raise ValueError("a time or a probe is beyond reason")
    return Proof(steps, receipts)


def _entry(turn: Turn, conversation: int) -> Entry:
    return Entry(
        conversation,
        turn.user_text,
        turn.reply_text,
        turn.created_at,
        turn.answered_at,
        turn.folded_at,
        turn.fold_seconds,
        turn.tokens,
        turn.pinned,
    )


def _line(value: dict[str, Any]) -> str:
    return json.dumps(value) + "\n"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
