"""What is said beside facts: small talk, asides, thanks, changes noted, and the ways to ask for all that is known."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from random import Random
from typing import Any

from training.corpora import Turn
from training.kinds import CATALOGUE

Chat = Callable[[Random], list[Turn]]
"""A few turns, drawn."""

THANKS = [
    "Thanks for telling me!",
    "Good to know.",
    "I'll remember that.",
    "Got it, I will keep that in mind.",
    "How nice!",
]
THANKS += ["That's good to know.", "I'm glad you told me.", "Noted!", "Interesting, thank you for sharing.", "I see!"]
NICE_FOR_THEM = ["Nice for them.", "Good for them!", "Oh, is that so?", "They sound nice.", "How interesting!"]
NICE_FOR_THEM += ["Really?", "I see, thank you.", "That's good to hear.", "Ah, all right.", "Sounds like good company."]
UPDATED = [
    "Thanks, I'll remember the change.",
    "Good to know, I have updated that.",
    "Got it, that's new.",
    "Noted, thanks!",
]
SUMMARIES = [
    "What do you know about me?",
    "Tell me what you know about me.",
    "What do you remember about me?",
    "Tell me something about myself.",
    "What have I told you about myself?",
    "Who am I?",
    "Do you know anything about me?",
    "Can you sum up what I told you?",
    "What did you learn about me so far?",
    "List what you remember of me.",
]

NOTHING_YET = [
    "You haven't told me anything about you yet.",
    "Nothing yet. Tell me something about you!",
    "Not a thing so far. What should I know?",
    "You haven't told me anything yet. Go ahead!",
]


def load_small_talk(name: str = "smalltalk") -> Chat:
    """One exchange of a file of the catalogue at a time: of its small talk, or of its `asides`."""
    exchanges = _exchanges(name)

    def draw(rng: Random) -> list[Turn]:
        exchange = rng.choice(exchanges)
        return [Turn(rng.choice(exchange["user"]), rng.choice(exchange["reply"]))]

    return draw


def with_asides(chat: Chat, share: float) -> Chat:
    """The chat, of which a share is questions that sound as if they were about the user, and are not."""
    asides = load_small_talk("asides")
    return lambda rng: asides(rng) if rng.random() < share else chat(rng)


def held_out_asides() -> list[str]:
    """Those that training does not draw, one of each topic."""
    return [exchange["held_out"] for exchange in _exchanges("asides")]


def _exchanges(name: str) -> list[dict[str, Any]]:
    catalogue = tomllib.loads((CATALOGUE / f"{name}.toml").read_text(encoding="utf-8"))
    exchanges: list[dict[str, Any]] = catalogue["exchange"]
    return exchanges
