"""How people write: clauses made messages, questions varied. Knows words, not facts."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from random import Random

OPENINGS = ["By the way, ", "Hi, ", "Hello! ", "Just so you know, ", "Oh, ", "Well, ", "So, ", "Hey, ", "You know, "]
OPENINGS += [
    "You should know that ",
    "Fun fact: ",
    "Did I tell you that ",
    "I wanted to say that ",
    "OK, ",
    "Actually, ",
]
LEAD_INS = [
    "Good morning. ",
    "Nice to meet you. ",
    "It's a lovely day. ",
    "I'm a bit bored. ",
    "Let me tell you about me. ",
]
LEAD_INS += ["Long day today. ", "I was thinking. ", "How are you? ", "Guess what? ", "I have some news. ", "Thanks! "]
ENDS = [".", ".", ".", ".", "!", "", "...", " :)"]
ASK_OPENINGS = [
    "Hi! ",
    "Hello, ",
    "Do you remember? ",
    "Quick question: ",
    "Tell me, ",
    "Hey, ",
    "By the way, ",
    "OK, ",
]


def favoured(rng: Random, options: Sequence[str]) -> str:
    """One of the options, the first ones most often: a model this small answers better when it has habits."""
    return options[min(rng.randrange(len(options)) for _ in range(3))]


def sentence(rng: Random, clause: str) -> str:
    """Make a message of a clause: an opening now and then, a capital mostly, an end."""
    draw = rng.random()
    if draw < 0.2:
        return rng.choice(OPENINGS) + clause + rng.choice(ENDS)
    text = clause if draw > 0.85 else clause[0].upper() + clause[1:]
    if draw < 0.3:
        text = rng.choice(LEAD_INS) + text
    return text + rng.choice(ENDS)


def question(rng: Random, text: str) -> str:
    """Vary a question: an opening, lower case, no question mark."""
    draw = rng.random()
    if draw < 0.12:
        return rng.choice(ASK_OPENINGS) + text[0].lower() + text[1:] if not text.startswith("I") else text
    if draw < 0.2:
        return text[0].lower() + text[1:].rstrip("?.")
    return text


def garbled(rng: Random, text: str, kept: Collection[str], words: Sequence[str]) -> str:
    """The text with a word in eight dropped, replaced or followed by one of `words`, but never a word of `kept`.

    Phrasings are few and seen often: garbled, they cannot be learnt by heart, and more than one word has to carry them.
    """
    names = "|".join(re.escape(name) for name in sorted(kept, key=len, reverse=True) if name)
    parts = re.split(rf"(?<!\w)({names})(?!\w)", text, flags=re.IGNORECASE) if names else [text]
    return "".join(
        part if i % 2 else re.sub(r"[\w']+", lambda word: _slip(rng, word[0], words), part)
        for i, part in enumerate(parts)
    )


def _slip(rng: Random, word: str, words: Sequence[str]) -> str:
    draw = rng.random()
    if draw < 0.03:
        return ""
    if draw < 0.08:
        return rng.choice(words)
    return f"{word} {rng.choice(words)}" if draw < 0.13 else word


def joined(rng: Random, clauses: Sequence[str]) -> str:
    """Join clauses in either order."""
    first, second = clauses if rng.random() < 0.5 else reversed(clauses)
    return first + rng.choice([" and ", ", but ", ". ", ", while ", "; "]) + second
