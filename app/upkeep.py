"""What a person may ask of a memory as a whole: see it, check it, take it along, forget it; and whose gate is held.

A person's turns and upkeep go one after another. Knows no prompts and no replies but those that it has to stop.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Lock
from typing import TYPE_CHECKING, Any

from app.accounts import Accounts
from app.errors import ModelLoading, NameMissing, ShuttingDown
from app.gates import Gates
from app.intake import checked_text
from app.ledger import Verification, messages_of
from app.memories import Memories, MemoryView
from app.metrics import Metrics
from app.pace import Pace
from app.portable import Parcel, unwrap
from app.proof import check_arriving
from app.readout import Answer, Change
from app.reply import Stream
from app.settings import Settings
from app.shares import Shares
from storage.errors import NotFound
from storage.records import Person, Receipt, Turn, User
from storage.store import Store

if TYPE_CHECKING:
    from core.decoding import Sampling
    from core.engine import Engine

NOBODY = 0  # no person has this number


class Upkeep:
    """What a person may ask of a memory, and who is busy with it. Safe to use from any thread."""

    def __init__(self, store: Store, engine: Future[Engine], settings: Settings) -> None:
        self._store = store
        self._engine = engine
        self._settings = settings
        self._memories = Memories(store, settings.adapter_cache_bytes)
        self._workers = ThreadPoolExecutor(settings.replies_at_once, thread_name_prefix="turn")
        self.accounts = Accounts(store, settings.passphrases)
        self._pace = Pace(settings.messages_a_minute)
        self._shares = Shares(store.kept_of, settings.conversations_each, settings.megabytes_each)
        self._gates = Gates(settings.patience_seconds)
        self._running: set[tuple[int, Stream]] = set()
        self._closing = Event()
        self._opening = Lock()
        self.metrics = Metrics(lambda: len(self._running), lambda: self._memories.adapter_bytes)

    @property
    def is_ready(self) -> bool:
        """Whether the model is loaded; raise what its loading raised."""
        return self._engine.done() and bool(self._engine.result())

    def check_database(self) -> None:
        """Raise StorageError unless the database answers."""
        self._store.check()

    @property
    def model_name(self) -> str:
        """The name of the model that runs."""
        return self._engine.result().name

    @property
    def reply_tokens(self) -> int:
        """How long a reply may be where nothing else is asked for."""
        return self._settings.reply_tokens

    def count_tokens(self, text: str) -> int:
        """Tokens of a text by itself."""
        return self._engine.result().length_of(text)

    def ensure_user(self, name: str) -> User:
        """Return the person of this name, who is new if nobody had it."""
        return self._store.ensure_user(name)

    def load_user(self, name: str) -> User:
        """Return the person of this name; raise NameMissing where nobody has it."""
        user = self._store.find_user(name)
        if user is None:
            raise NameMissing(f"Nobody in this database is named {name!r}; check the spelling and the database.")
        return user

    def held_turns(self, user_id: int) -> list[Turn]:
        """The ledger: the turns in a memory, in the order of their folding."""
        return self._store.held_turns(user_id)

    def ledger(self, user_id: int) -> tuple[list[Turn], list[float]]:
        """The turns in a memory, in the order of their folding, and how much of each has not faded."""
        turns = self._store.held_turns(user_id)
        return turns, self._engine.result().left([turn.pinned for turn in turns])

    def load_turn(self, user_id: int, turn_id: int) -> Turn:
        """Raise NotFound unless the turn is this person's."""
        return self._store.load_turn(user_id, turn_id)

    def weigh(self, user_id: int, turn_id: int) -> list[float]:
        """The norm of what a turn adds to each layer of an empty memory; costs one forward pass.

        Raise NotFound unless the turn is this person's.
        """
        engine, turn = self._engine.result(), self._store.load_turn(user_id, turn_id)
        return engine.fold(engine.empty_state(), messages_of(turn)).norms()

    def view_memory(self, user_id: int, wait: bool = False) -> MemoryView:
        """The ledger and the numbers of a memory; before the model is there `wait` for it, or raise ModelLoading."""
        if not (wait or self.is_ready):
            raise ModelLoading("The model is still loading; look again in a few seconds.")
        return self._memories.view(self._engine.result(), user_id)

    def forget_turns(self, user_id: int, turn_ids: Collection[int]) -> Receipt:
        """Delete these turns for good; the memory is then the one that never saw them.

        Costs a forward pass per turn left. Raise NotFound, with nothing deleted, unless all of them are this person's.
        """
        engine = self._engine.result()
        with self._alone(user_id):
            return self._memories.forget_turns(engine, user_id, set(turn_ids))

    def forget_conversation(self, user_id: int, conversation_id: int) -> Receipt:
        """Delete a conversation and its turns, as `forget_turns`; a reply being written is finished first."""
        engine = self._engine.result()
        with self._alone(user_id):
            turns = self._store.load_turns(user_id, conversation_id)
            return self._memories.forget_turns(engine, user_id, {turn.id for turn in turns})

    def forget_everything(self, user_id: int) -> Receipt:
        """Delete all of a person's turns and the memory; what is being written is stopped first."""
        self._stop_all(user_id)
        with self._alone(user_id):
            return self._memories.forget(user_id)

    def delete_account(self, user_id: int) -> None:
        """Delete a person with all that is kept of them, the name too; what is being written is stopped first."""
        self._delete(user_id)
        self._store.erase_deleted()

    def delete_lost_guests(self) -> None:
        """Delete every guest whom nothing lets in any more: what is kept of them is nobody's."""
        try:
            for user_id in self._store.lost_guests():
                with suppress(NotFound):  # another process may do the same
                    self._delete(user_id)
        finally:
            self._store.erase_deleted()

    def _delete(self, user_id: int) -> None:
        self._stop_all(user_id)
        with self._alone(user_id):
            self._memories.delete(user_id)

    def finish_erasing(self) -> None:
        """Leave nothing in the files of what was forgotten, where a crash came between. Raise DatabaseUnavailable."""
        self._store.finish_erasing()

    def list_people(self) -> list[Person]:
        """Everybody, and how much is kept of each: for the operator."""
        return self._store.list_people()

    def set_admin(self, user_id: int, is_admin: bool) -> None:
        """Have somebody see how much is kept of everybody, and delete them, or no longer: for the operator."""
        self._store.set_admin(user_id, is_admin)

    def pin(self, user_id: int, turn_id: int, pinned: bool) -> None:
        """Have a held turn fade no more, or fade again. Raise NotFound unless it is this person's."""
        engine = self._engine.result()
        with self._alone(user_id):
            self._memories.pin(engine, user_id, turn_id, pinned)

    def correct(self, user_id: int, turn_id: int, text: str) -> Receipt:
        """Have a held turn say `text` instead, and be answered anew; the memory is then the one that was told so.

        Nothing of the old turn stays. Raise NotFound unless it is this person's.
        """
        text, engine = checked_text(text, self._settings.message_characters), self._engine.result()
        with self._alone(user_id):
            return self._memories.correct(engine, user_id, turn_id, text, self._sampling())

    def changes_since(self, user_id: int, turn_id: int) -> list[Change]:
        """What the memory is sure of now and was not after a turn, or the other way round."""
        engine = self._engine.result()
        with self._alone(user_id):
            return self._memories.changes_since(engine, user_id, turn_id, self._sampling())

    def read_out(self, user_id: int, questions: Sequence[str] = ()) -> list[Answer]:
        """What the memory alone answers, each time in an empty prompt, the surest answer first.

        To the questions given, or to a list of plain ones. Raise BadMessage for one that cannot be asked.
        """
        questions = [checked_text(question, self._settings.message_characters) for question in questions]
        engine = self._engine.result()
        with self._alone(user_id):
            return self._memories.read_out(engine, user_id, self._sampling(), questions)

    def list_receipts(self, user_id: int) -> list[Receipt]:
        """What was forgotten, newest first; texts are not in it."""
        return self._store.list_receipts(user_id)

    def export_memory(self, user_id: int, texts: bool = True) -> bytes:
        """The memory, its ledger, and the proof of both as the bytes of one file, without `texts` where so asked.

        Costs a forward pass per turn held.
        """
        engine = self._engine.result()
        with self._alone(user_id):
            return self._memories.wrap(engine, user_id, texts)

    def save_lora(self, user_id: int, folder: Path, rank: int | None = None) -> float:
        """Write the memory as a LoRA of the base, of its own rank or a smaller one; return the largest relative error.

        Whoever has the folder has what the memory knows.
        """
        engine = self._engine.result()
        with self._alone(user_id):
            return self._memories.save_lora(engine, user_id, folder, self._settings.origin.base_name, rank)

    @property
    def persona(self) -> str | None:
        """The LoRA that is part of the base, if any."""
        return self._settings.lora

    def import_memory(self, user_id: int, data: bytes, merge: bool = False) -> int:
        """Take in what `export_memory` gave, for a person; return how many turns were new.

        A person who has turns keeps them, and both memories become one, where `merge` says so. Whatever is not whole,
        unchanged, and of the running model is refused in one sentence and changes nothing. Raise NotFound for nobody.
        """
        return self._take_in(user_id, self._opened(user_id, data), merge)

    def import_as(self, name: str, data: bytes, merge: bool = False) -> int:
        """As `import_memory`, under a name that nobody need have yet, and that nobody has after a refusal."""
        known = self._store.find_user(name)
        parcel = self._opened(known.id if known else NOBODY, data)
        return self._take_in(self.ensure_user(name).id, parcel, merge)

    def _opened(self, user_id: int, data: bytes) -> Parcel:
        with self._opening:  # one at a time, whoever asks: it takes long, and nothing is held yet
            parcel = unwrap(data)
            self._check_share(user_id, parcel)
            check_arriving(self._engine.result(), parcel, self._settings.message_characters)
            return parcel

    def _take_in(self, user_id: int, parcel: Parcel, merge: bool) -> int:
        with self._alone(user_id):
            self._check_share(user_id, parcel)  # others may have arrived meanwhile
            return self._memories.take_in(self._engine.result(), user_id, parcel, merge)

    def _check_share(self, user_id: int, parcel: Parcel) -> None:
        self._shares.check(user_id, parcel.conversations, parcel.size)

    def verify(self, user_id: int) -> Verification:
        """Whether the memory is, bit for bit, what its ledger gives; costs a forward pass per turn held."""
        engine = self._engine.result()
        with self._alone(user_id):
            return self._memories.verify(engine, user_id)

    def rebuild(self, user_id: int) -> int:
        """Fold all stored turns again, from nothing, with the running model; return how many."""
        engine = self._engine.result()
        with self._alone(user_id):
            return self._memories.rebuild(engine, user_id)

    def _sampling(self, **given: Any) -> Sampling:
        """How words are chosen: as the settings say, but for what is given. Raise PromptError for what cannot be."""
        from core.decoding import Sampling

        chosen = self._settings
        usual = {"max_tokens": chosen.reply_tokens, "temperature": chosen.temperature}
        return Sampling(**{**usual, "top_p": chosen.top_p, "seed": chosen.seed, **given})

    def _stop_all(self, user_id: int | None = None) -> None:
        """Stop what is being written for a person, or for everybody."""
        for owner, stream in list(self._running):
            if user_id in (None, owner):
                stream.stop()

    @contextmanager
    def _noted(self, user_id: int, stream: Stream) -> Iterator[None]:
        """Have `_stop_all` know of a stream."""
        self._running.add((user_id, stream))
        try:
            yield
        finally:
            self._running.discard((user_id, stream))

    @contextmanager
    def _alone(self, user_id: int) -> Iterator[None]:
        """Hold a person's gate, unless all is ending; another thread than the one that took it may let it go."""
        with self._gates.alone(user_id):
            if self._closing.is_set():
                raise ShuttingDown("Imprint is shutting down; send the message again when it is back.")
            yield
