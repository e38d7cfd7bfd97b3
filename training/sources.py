"""What the model reads besides facts: small talk between turns, and plain rows for language.

The shares follow from what `python -m training.ablation` measured: models/README.md.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from random import Random

from training.corpora import Turn, dialogue_turns, read_records, tidy
from training.remarks import load_small_talk

STORIES = ("african_storybook", "fairytale_stories")
# Of what is drawn: plain rows, a turn or two of small talk, a conversation between people.
PLAIN = {"talk": 0.55, "chat": 0.28, "stories": 0.05, "common_voice_sentences": 0.12}
CHAT = {"small_talk": 0.65, "ms_chitchat": 0.15, "talk": 0.2}
TALK = {"self_dialogue": 0.8, "synthetic_persona_chat": 0.2}
# "I'm Zoe", "My name is Zoe", "I'm a nurse", "I work as a nurse", "I'm 34", "my wife": whoever says that is somebody.
ABOUT_ONESELF = re.compile(
    r"\b(?i:my name|name's|i'm an?|i am an?|i work|i live|i have an?|i'm from|i am from|my (?:wife|husband|mom|mum|dad"
    r"|son|daughter|kids|dog|cat|job|boss|brother|sister))\b|\b(?:I'm|I am) (?:[A-Z]|\d)|\bThis is [A-Z]"
)
NAMES = ("self_dialogue", "synthetic_persona_chat", "small_talk", "ms_chitchat", "stories", "common_voice_sentences")


class Sources:
    """Every corpus in memory (about 150 MB), drawn from at random; those in `without` never, the others in their place.

    Of synthetic_persona_chat the validation split is trained on; its test split stays for evaluation.
    """

    def __init__(self, corpora: Path, without: Collection[str] = ()) -> None:
        self._plain, self._chat, self._talk = (_left(shares, without) for shares in (PLAIN, CHAT, TALK))
        self.small_talk = load_small_talk()
        dialogues = [dialogue_turns(record) for record in read_records(corpora, "self_dialogue")]
        acquaintances = [dialogue_turns(r) for r in read_records(corpora, "synthetic_persona_chat", "valid")]
        self.dialogues = {
            "self_dialogue": [turns for turns in dialogues if turns],
            "synthetic_persona_chat": [
                own for turns in acquaintances if not _has_gaps(turns) for own in without_introductions(turns)
            ],
        }
        self.chitchat = _by_answer(corpora)
        self.stories = [record["text"] for source in STORIES for record in read_records(corpora, source)]
        self.sentences = [tidy(record["text"]) for record in read_records(corpora, "common_voice_sentences")]

        self.words = sorted({word for text in self.sentences for word in text.lower().split() if word.isalpha()})

    def chat(self, rng: Random) -> list[Turn]:
        """A turn or two of small talk."""
        source = _drawn(rng, self._chat)
        if source == "small_talk":
            return self.small_talk(rng)
        if source == "ms_chitchat":
            return [rng.choice(rng.choice(self.chitchat))]
        return self.talk(rng, 1)

    def talk(self, rng: Random, most: int) -> list[Turn]:
        """Up to `most` turns that follow each other in a conversation between people."""
        turns = rng.choice(self.dialogues[_drawn(rng, self._talk)])
        start = rng.randrange(max(1, len(turns) - most + 1))
        return turns[start : start + most]

    def plain(self, rng: Random) -> list[Turn] | str:
        """Something to learn English from: conversations mostly, some stories and sentences."""
        source = _drawn(rng, self._plain)
        if source == "talk":
            return self.talk(rng, 5)
        if source == "chat":
            return [turn for _ in range(rng.randint(1, 4)) for turn in self.chat(rng)]
        if source == "stories":
            story = rng.choice(self.stories)
            start = rng.randrange(max(1, len(story) - 900))
            return story[start : start + 900]
        return " ".join(rng.choice(self.sentences) for _ in range(3))

    def texts(self, rng: Random, count: int) -> Iterator[str]:
        """Text to train a tokenizer on, in the proportions of training."""
        for _ in range(count):
            drawn = self.plain(rng)
            yield from [drawn] if isinstance(drawn, str) else (text for turn in drawn for text in turn)


def _left(shares: Mapping[str, float], without: Collection[str]) -> dict[str, float]:
    return {name: share for name, share in shares.items() if name not in without}


def _drawn(rng: Random, shares: Mapping[str, float]) -> str:
    return rng.choices(list(shares), list(shares.values()))[0]


def _has_gaps(turns: list[Turn]) -> bool:
    """Whether a name is left out, as in "my name is (name)"."""
    return any(mark in text for turn in turns for text in turn for mark in "[(")


def without_introductions(turns: list[Turn]) -> Iterator[list[Turn]]:
    """A conversation in the stretches between replies in which a speaker says who they are.

    People answer "I'm Max" with their own name and "I'm a teacher" with their own work; the assistant has neither.
    """
    kept: list[Turn] = []
    for turn in turns:
        if not ABOUT_ONESELF.search(turn.assistant):
            kept.append(turn)
        elif kept:
            yield kept
            kept = []
    if kept:
        yield kept


def _by_answer(corpora: Path) -> list[list[Turn]]:
    """ms_chitchat has 90 answers with very many paraphrases each: group them, to draw an answer first."""
    groups: dict[int, list[Turn]] = {}
    for record in read_records(corpora, "ms_chitchat"):
        turn = dialogue_turns(record)[0]
        groups.setdefault(zlib.crc32(turn.assistant.encode()), []).append(turn)
    return list(groups.values())
