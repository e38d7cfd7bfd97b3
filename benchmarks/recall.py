"""`python -m benchmarks.recall (--cases FILE | --generate N [--seed S --facts F ...]) [--json OUT]`: does it remember?

Runs each case through the real service, engine and storage, greedily, three ways: `memory` (adapter, empty prompt),
`none` (no memory, empty prompt) and `prompt` (no adapter, the whole history in the prompt). Probes are not folded.
With every share comes its 95 % interval (Wilson), and the share of told facts that were falsely said to be unknown.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tqdm import tqdm

from app.bootstrap import running_service
from app.errors import EXPECTED
from app.service import Service
from app.settings import Settings, load_settings
from benchmarks.cases import ADMISSIONS, KINDS, PARTS, Case, Mix, Probe, generate_cases, read_cases
from benchmarks.report import finish, interval, origin
from core.adapter import Adapter
from core.chat import Message
from core.decoding import Sampling
from core.engine import Engine
from core.state import State
from storage.database import file_url, open_database
from storage.store import Store
from training.corpora import Turn

GREEDY = Sampling(max_tokens=48)
TOGETHER = 16
WAYS = ("memory", "none", "prompt")


def main() -> int:
    """Print a table and a JSON line; 2 if the cases or the model cannot be read."""
    arguments = parse()
    try:
        mix = mix_of(arguments)
        cases = (
            list(generate_cases(arguments.generate, arguments.seed, mix))
            if arguments.generate
            else read_cases(arguments.cases)
        )
        source = f"generated, seed {arguments.seed}, {mix}" if arguments.generate else arguments.cases.name
        asked = {"cases": len(cases), "source": source}
        before = earlier(arguments.json, asked) if arguments.keep else {}
        settings = load_settings(model=arguments.model, device=arguments.device)
        result = run(cases, settings, arguments.verbose, arguments.ways, arguments.together)
        result = kept(before, result) | asked
    except (OSError, ValueError, *EXPECTED) as error:
        print(f"Recall cannot be measured: {error}", file=sys.stderr)
        return 2
    finish(result, arguments.json)
    return 0


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--cases", type=Path)
    source.add_argument("--generate", type=int, default=0, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--facts", type=int, default=4, help="how many facts a generated case has at most")
    parser.add_argument("--exactly", action="store_true", help="every case has exactly that many facts")
    parser.add_argument("--unrelated", type=int, default=0, help="turns of small talk after the last fact")
    parser.add_argument("--planted", type=int, default=0, help="wrong replies folded after the last fact")
    parser.add_argument("--unseen-kinds", action="store_true", help="only kinds of facts that training has not at all")
    parser.add_argument("--seen", nargs="+", choices=PARTS, default=[], help="what is drawn as training saw it")
    parser.add_argument("--near", action="store_true", help="ask for what could be mistaken for something told")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, help="memory alone compares weights soonest")
    parser.add_argument("--together", type=int, default=TOGETHER, help="cases under way at once; a GPU suits more")
    parser.add_argument("--json", type=Path)
    parser.add_argument(
        "--keep", action="store_true", help="keep the ways in --json that are not run, of these weights"
    )
    parser.add_argument("--model", type=Path)
    parser.add_argument("--device")
    parser.add_argument("--verbose", action="store_true", help="print every probe that memory got wrong")
    return parser.parse_args()


def earlier(path: Path | None, asked: dict[str, Any]) -> dict[str, Any]:
    """What the file holds of the same cases; raise ValueError where it holds others, OSError where there is none."""
    if path is None:
        raise ValueError("--keep needs --json.")
    before: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if any(before.get(name) != value for name, value in asked.items()):
        raise ValueError(f"{path.name} is of other cases ({before.get('source')}).")
    return before


def kept(before: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """The result with the ways that were only run before, and when and where; ValueError if by other weights."""
    if before and before["model"] != result["model"]:
        raise ValueError(f"What is to be kept was answered by {before['model']}.")
    ways = [way for way in WAYS if way in before and way not in result]
    how = {name: before[name] for name in ("commit", "device", "guidance") if name in before}
    return {way: how | before[way] for way in ways} | result


def mix_of(arguments: argparse.Namespace) -> Mix:
    """What the generated cases are to be like."""
    least = arguments.facts if arguments.exactly else 1
    later = (arguments.unrelated, arguments.planted)
    return Mix(least, arguments.facts, *later, arguments.unseen_kinds, tuple(arguments.seen), arguments.near)


def run(
    cases: Sequence[Case],
    settings: Settings,
    verbose: bool = False,
    ways: Sequence[str] = WAYS,
    together: int = TOGETHER,
) -> dict[str, Any]:
    """The share of probes answered right, for each way and kind."""
    asked = Counter(probe.kind for case in cases for probe in case.probes)
    right: dict[str, Counter[str]] = {way: Counter() for way in ways}
    denied = Counter[str]()  # told facts said to be unknown, for each way
    with TemporaryDirectory() as folder:
        private = settings.model_copy(update={"database_url": file_url(Path(folder) / "recall.db")})
        with running_service(private) as (service, loading):
            engine, store = loading.result(), Store(open_database(private.database_url))
            for case, way, replies in at_once(
                lambda case, way: answers(case, way, service, store, engine), cases, ways, together
            ):
                for probe, reply in zip(case.probes, replies, strict=True):
                    right[way][probe.kind] += is_right(reply, probe)
                    denied[way] += probe.kind != "abstain" and is_admission(reply)
                    if verbose and way == "memory" and not is_right(reply, probe):
                        typed = " / ".join((*probe.before, probe.ask))
                        print(f"{case.id} {probe.kind}: {typed!r} -> {reply!r}, expected {probe.any_of[0]!r}")
    counts, told = {kind: asked[kind] for kind in KINDS}, sum(asked[kind] for kind in KINDS if kind != "abstain")
    shares = {way: {kind: _share(right[way][kind], asked[kind]) for kind in KINDS} for way in ways}
    _print_table(shares, asked)
    extra = {
        way: {"n": counts, "interval": {kind: interval(right[way][kind], asked[kind]) for kind in KINDS}}
        | {"false_admission": _share(denied[way], told)}
        for way in ways
    }
    return {way: shares[way] | extra[way] for way in ways} | origin(engine)


def at_once(
    work: Callable[[Case, str], list[str]], cases: Sequence[Case], ways: Sequence[str], together: int = TOGETHER
) -> Iterator[tuple[Case, str, list[str]]]:
    """Each case and way with what came of it; many are under way at once, so that they share steps of the base."""
    asked = [(case, way) for case in cases for way in ways]
    with ThreadPoolExecutor(together) as pool:
        replies = tqdm(pool.map(lambda one: work(*one), asked), total=len(asked), unit="case", disable=None)
        yield from ((case, way, reply) for (case, way), reply in zip(asked, replies, strict=True))


def answers(case: Case, way: str, service: Service, store: Store, engine: Engine) -> list[str]:
    """What is said to every probe of a case."""
    adapter = told_in_chat(case, service, store, engine) if way == "memory" else None
    history = told_in_prompt(engine, case) if way == "prompt" else []
    return ask(engine, adapter, history, case.probes)


def told_in_chat(case: Case, service: Service, store: Store, engine: Engine) -> Adapter | None:
    """The adapter of somebody who had the conversations of a case, and the turns after them."""
    user = service.ensure_user(case.id)
    for texts in case.conversations:
        conversation = None
        for text in texts:
            reply = service.send(user.id, conversation, text)
            "".join(reply)
            reply.remembered.result()
            conversation = reply.turn.conversation_id
    memory = store.load_memory(user.id)
    return adapter_after(engine, State.from_bytes(memory.blob), case.later) if memory else None


def adapter_after(engine: Engine, state: State, later: Sequence[Turn]) -> Adapter:
    """The adapter once `later` is folded as well, straight by the engine: its replies are given."""
    for user, assistant in later:
        state = engine.fold(state, [Message("user", user), Message("assistant", assistant)])
    return engine.materialise(state)


def told_in_prompt(engine: Engine, case: Case) -> list[Message]:
    """The whole history, each message answered by the base with all that was said before it in its prompt."""
    history: list[Message] = []
    for text in (text for texts in case.conversations for text in texts):
        message = Message("user", text)
        reply = "".join(engine.reply(None, fitting(engine, [*history, message]), GREEDY))
        history += [message, Message("assistant", reply)]
    given = [[Message("user", user), Message("assistant", assistant)] for user, assistant in case.later]
    return [*history, *(message for exchange in given for message in exchange)]


def fitting(engine: Engine, messages: list[Message]) -> list[Message]:
    """The newest turns that the model can read."""
    while len(messages) > 1 and engine.count_tokens(messages) > engine.max_prompt_tokens:
        messages = messages[2:]
    return messages


def ask(engine: Engine, adapter: Adapter | None, history: list[Message], probes: Sequence[Probe]) -> list[str]:
    """Every probe, each in a conversation of its own that holds `history` and is not folded."""
    return [list(conversation(engine, adapter, history, probe))[-1] for probe in probes]


def conversation(engine: Engine, adapter: Adapter | None, history: list[Message], probe: Probe) -> Iterator[str]:
    """The replies to what is typed before a probe, and to the probe."""
    messages = list(history)
    for text in (*probe.before, probe.ask):
        messages.append(Message("user", text))
        reply = "".join(engine.reply(adapter, fitting(engine, messages), GREEDY))
        messages.append(Message("assistant", reply))
        yield reply


def is_right(reply: str, probe: Probe) -> bool:
    """Whether the reply holds one of the wanted strings and none of the unwanted; whole words, any case, plural s."""
    return any(_holds(reply, text) for text in probe.any_of) and not any(_holds(reply, text) for text in probe.none_of)


def is_admission(reply: str) -> bool:
    """Whether the reply says that this was never told."""
    return any(_holds(reply, text) for text in ADMISSIONS)


def _holds(reply: str, text: str) -> bool:
    return bool(re.search(rf"(?<!\w){re.escape(text)}s?(?!\w)", reply, re.IGNORECASE))


def _share(right: int, asked: int) -> float | None:
    return round(right / asked, 4) if asked else None


def _print_table(shares: dict[str, dict[str, float | None]], asked: Counter[str]) -> None:
    print(f"{'':8}" + "".join(f"{kind:>10}" for kind in KINDS))
    for way in shares:
        cells = (shares[way][kind] for kind in KINDS)
        print(f"{way:8}" + "".join(f"{'-' if cell is None else f'{cell:.3f}':>10}" for cell in cells))
    print(f"{'probes':8}" + "".join(f"{asked[kind]:>10}" for kind in KINDS))


if __name__ == "__main__":
    sys.exit(main())
