"""`python -m benchmarks.speed [--model DIR] [--repeats R] [--json OUT]`: what remembering costs in time and bytes.

A fold against the bare forward pass of the same tokens; the time to the first piece of a reply with much and with
little in memory; and memory against what one would do without it, the whole history in the prompt: to the first piece,
which is a whole opening where a memory guides its reply, and to the last. Compared sides take turns in one process, and
medians are given. Knows nothing of how good the replies are: see `benchmarks/recall.py`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing
from itertools import cycle, islice
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from app.errors import EXPECTED
from app.service import Service
from app.settings import Settings, load_settings
from benchmarks.report import finish, origin
from benchmarks.timing import Side, forward, interleaved, timed, turn_of
from core.adapter import Adapter
from core.chat import Message, encode
from core.decoding import Sampling
from core.engine import Engine, load_engine
from core.state import State
from storage.database import file_url, open_database
from storage.store import Store

TURN_TOKENS = (16, 64, 256)
HISTORIES = (10, 20, 40)
EARLIER_TURNS = 500
REPLY_TOKENS = 4
WHOLE = 48  # tokens of a whole reply, at most
ASK = "What did I tell you about my garden?"
TOLD = (
    ("I moved to Vienna last spring.", "That sounds like a big change. How do you like it?"),
    ("My sister Marta lives two streets away.", "It must be nice to have her so close."),
    ("We planted an apple tree in the garden.", "Apples of your own, I like that."),
    ("On Mondays I play chess at the library.", "Have fun at the next game."),
    ("My cat is called Mikesch and is afraid of rain.", "Poor Mikesch, I hope it stays dry."),
)


def main() -> int:
    """Print a table and a JSON line; 2 if the model cannot be read."""
    arguments = parse()
    try:
        settings = load_settings(model=arguments.model, device=arguments.device)
        result = run(load_engine(settings.origin, settings.choice), settings, arguments.repeats)
    except EXPECTED as error:
        print(f"Speed cannot be measured: {error}", file=sys.stderr)
        return 2
    finish(result, arguments.json)
    return 0


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=40, help="how often each side is timed (default 40)")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--device")
    arguments = parser.parse_args()
    if arguments.repeats < 1:
        parser.error(f"--repeats is {arguments.repeats}; it has to be at least 1.")
    return arguments


def run(engine: Engine, settings: Settings, repeats: int, earlier: int = EARLIER_TURNS) -> dict[str, Any]:
    """Measure everything; print each table when it is complete. All times are medians in milliseconds."""
    folds = [fold_against_forward(engine, tokens, repeats) for tokens in TURN_TOKENS]
    _print_rows("Fold of one turn (ms): with tokenising, against the bare decoder without and with tokenising", folds)
    first = first_pieces(engine, settings, repeats, earlier)
    _print_rows(f"First piece through the service (ms): one turn in memory, {earlier} turns in memory", first)
    histories = [memory_against_prompt(engine, turns, repeats) for turns in HISTORIES]
    _print_rows("First piece from the engine (ms), and bytes: memory against the history in the prompt", histories)
    worse = memory_is_worse(histories)
    print(f"\nMemory is the worse choice: {worse['in_words']}")
    measured = {"fold": folds, "first_piece": first, "history": histories, "memory_is_worse": worse}
    return {"repeats": repeats, "earlier_turns": earlier} | measured | origin(engine)


def fold_against_forward(engine: Engine, most_tokens: int, repeats: int) -> dict[str, float]:
    """A turn folded by the engine (tokenising included), and the decoder alone over its tokens.

    `forward` gets the ids ready made; `encode_forward` makes them from the messages first, as the fold has to.
    """
    turn = turn_of(engine, most_tokens)
    ids = encode(engine.tokenizer, turn, reply=False)
    state = engine.fold(engine.empty_state(), turn)
    sides = {
        "fold": timed(engine.base.device, lambda: engine.fold(state, turn)),
        "forward": timed(engine.base.device, lambda: forward(engine, ids)),
        "encode_forward": timed(
            engine.base.device, lambda: forward(engine, encode(engine.tokenizer, turn, reply=False))
        ),
    }
    took = interleaved(sides, repeats)
    ratios = {f"fold/{name}": round(took["fold"] / took[name], 3) for name in ("forward", "encode_forward")}
    return {"tokens": len(ids), **took, **ratios}


def first_pieces(engine: Engine, settings: Settings, repeats: int, earlier: int) -> list[dict[str, Any]]:
    """From `Service.send` to the first piece, each time in a new conversation, for two kinds of adapter cache.

    `made anew`: no adapter is kept, so both users' are made within the time: like against like. `at hand`: as the app
    runs, where the user with a past has an adapter ready and each new one's is made. New ones have told one turn,
    since a memory that holds nothing guides no reply.
    """
    rows: list[dict[str, Any]] = []
    with TemporaryDirectory() as folder, closing(open_database(file_url(Path(folder) / "speed.db"))) as database:
        store = Store(database)
        full = store.ensure_user("with a past").id
        say_much(store, full, earlier)
        for adapter, cache_bytes in (("made anew", 0), ("at hand", settings.adapter_cache_bytes)):
            chosen = {"adapter_cache_bytes": cache_bytes, "reply_tokens": REPLY_TOKENS}
            # One more than is timed, since the first time warms up.
            new = [store.ensure_user(f"{adapter} {number}").id for number in range(repeats + 1)]
            for user in new:
                say_much(store, user, 1)
            with closing(service_over(store, engine, settings.model_copy(update=chosen))) as service:
                service.recover()
                took = interleaved(_senders(service, iter(new), full), repeats)
            rows.append({"adapter": adapter, **took, "full/new": round(took["full"] / took["new"], 3)})
    return rows


def say_much(store: Store, user_id: int, turns: int) -> None:
    """Store answered turns; `recover` folds them."""
    conversation = store.start_conversation(user_id).id
    for said, answered in islice(cycle(TOLD), turns):
        turn = store.append_turn(user_id, conversation, said)
        store.answer_turn(user_id, turn.id, answered)


def service_over(store: Store, engine: Engine, settings: Settings) -> Service:
    """The app's service, on an engine that is loaded already."""
    loading: Future[Engine] = Future()
    loading.set_result(engine)
    return Service(store, loading, settings)


def _senders(service: Service, new: Iterator[int], full: int) -> dict[str, Side]:
    """A memory holds one turn only once, so that every time it is another user."""
    return {"new": lambda: first_piece(service, next(new)), "full": lambda: first_piece(service, full)}


def first_piece(service: Service, user_id: int) -> float:
    """Seconds from the call to the first piece; returns when the turn is folded, so that nothing runs beside it."""
    started = time.perf_counter()
    reply = service.send(user_id, None, ASK)
    pieces = iter(reply)
    next(pieces, "")
    seconds = time.perf_counter() - started
    deque(pieces, maxlen=0)
    reply.remembered.result()
    return seconds


def memory_against_prompt(engine: Engine, turns: int, repeats: int) -> dict[str, Any]:
    """The same turns as a memory and as a prompt, which is None where the base cannot read that much.

    `memory` has its adapter ready, `made_anew` materialises it first. The prompt is read from its first token, as in
    every new conversation whose key-value cache was not kept. `whole` is until the last piece, of so many tokens as
    each says.
    """
    told = list(islice(cycle(TOLD), turns))
    history = [Message(role, text) for turn in told for role, text in zip(("user", "assistant"), turn, strict=True)]
    state = engine.empty_state()
    for at in range(0, len(history), 2):
        state = engine.fold(state, history[at : at + 2])
    prompt = [*history, Message("user", ASK)]
    sides = _memory_sides(engine, state)
    if fits := engine.count_tokens(prompt) <= engine.max_prompt_tokens:
        sides["prompt"] = timed(engine.base.device, lambda: answer(engine, None, prompt))
        sides["prompt_whole"] = timed(engine.base.device, lambda: whole(engine, None, prompt))
    took = {"prompt": None, "prompt_whole": None} | interleaved(sides, repeats)
    tokens = len(encode(engine.tokenizer, history, reply=False))
    sizes = {
        "state_bytes": len(state.to_bytes()),
        "adapter_bytes": engine.materialise(state).nbytes,
        "kv_bytes": kv_bytes(engine, tokens),
        "text_bytes": sum(len(message.text.encode()) for message in history),
    }
    said = {
        "memory_tokens": said_tokens(engine, whole(engine, engine.materialise(state), prompt[-1:])),
        "prompt_tokens": said_tokens(engine, whole(engine, None, prompt)) if fits else None,
    }
    return {"turns": turns, "tokens": tokens, **took, **said, **sizes}


def _memory_sides(engine: Engine, state: State) -> dict[str, Side]:
    ask, adapter = [Message("user", ASK)], engine.materialise(state)
    return {
        "materialise": timed(engine.base.device, lambda: engine.materialise(state)),
        "memory": timed(engine.base.device, lambda: answer(engine, adapter, ask)),
        "made_anew": timed(engine.base.device, lambda: answer(engine, engine.materialise(state), ask)),
        "whole": timed(engine.base.device, lambda: whole(engine, adapter, ask)),
    }


def answer(engine: Engine, adapter: Adapter | None, messages: Sequence[Message]) -> str:
    """The first piece of a reply; "" where it ends at once."""
    return next(engine.reply(adapter, messages, Sampling(max_tokens=REPLY_TOKENS)), "")


def whole(engine: Engine, adapter: Adapter | None, messages: Sequence[Message]) -> str:
    """A whole reply."""
    return "".join(engine.reply(adapter, messages, Sampling(max_tokens=WHOLE)))


def said_tokens(engine: Engine, reply: str) -> int:
    """Of how many tokens a reply is, without its end."""
    return len(engine.tokenizer(reply, add_special_tokens=False)["input_ids"])


def kv_bytes(engine: Engine, tokens: int) -> int:
    """Bytes of the base's key-value cache after so many tokens: a key and a value per layer and key-value head."""
    return engine.cache_a_token * tokens


def memory_is_worse(histories: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Where one is better off without a memory, by these figures; each bound is where it begins to pay."""
    last = histories[-1]
    text, cache = last["text_bytes"] / last["turns"], last["kv_bytes"] / last["tokens"]
    read = [row for row in histories if row["prompt"] is not None]
    slower = [row["turns"] for row in read if row["made_anew"] >= row["prompt"]]
    slower_whole = [row["turns"] for row in read if row["whole"] >= row["prompt_whole"]]
    turns, tokens = ceil(last["state_bytes"] / text), ceil(last["state_bytes"] / cache)
    words = (
        f"its {last['state_bytes']:,} bytes are more than the plain text of fewer than {turns:,} turns, which is kept "
        f"as well, and more than a key-value cache of fewer than {tokens:,} tokens; with its adapter made anew, its "
        f"first piece is no sooner than the prompt's at {_listed(slower)} of the histories; with it at hand, its whole "
        f"reply is no sooner at {_listed(slower_whole)}."
    )
    return {
        "slower_at_turns": slower,
        "slower_whole_at_turns": slower_whole,
        "larger_than_text_below": turns,
        "larger_than_kv_below": tokens,
        "in_words": words,
    }


def _listed(turns: Sequence[int]) -> str:
    return " and ".join(f"{number} turns" for number in turns) or "none"


def _print_rows(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    print(f"\n{title}")
    widths = [max(len(name), len("too long")) + 2 for name in rows[0]]
    print("".join(f"{name:>{width}}" for name, width in zip(rows[0], widths, strict=True)))
    for row in rows:
        cells = ("too long" if cell is None else cell for cell in row.values())
        print("".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)))


if __name__ == "__main__":
    sys.exit(main())
