"""What people send in becomes a plain text to be stored, or one sentence that says why not.

Knows nothing of users, models or pages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.errors import BadMessage, BadStrength

KEPT_CONTROLS = "\t\n\r"
LONGEST_TITLE = 60


def text_of(content: object) -> str:
    """Text of what a chat component hands over: a string, a block, or a list of blocks."""
    if isinstance(content, str):
        return content
    if isinstance(content, Mapping):
        return text_of(content.get("text", content.get("content", "")))
    if isinstance(content, Sequence) and not isinstance(content, bytes | bytearray):
        return "\n".join(filter(None, map(text_of, content)))
    return ""


def text_from_bytes(line: bytes) -> str:
    """Decode what a terminal or a file hands over; raise BadMessage where it is not UTF-8."""
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise BadMessage(
            f"The message is not UTF-8: byte 0x{line[error.start]:02x} at position {error.start} "
            "is not text; set the terminal to UTF-8 and send it again."
        ) from error


def checked_strength(strength: object) -> float:
    """Return how much of a memory is to be read; raise BadStrength unless it is a number from 0 to 1."""
    if not isinstance(strength, int | float) or not 0 <= strength <= 1:
        raise BadStrength(f"The strength of a memory cannot be {strength!r}; give a number from 0 (off) to 1.")
    return float(strength)


def checked_title(title: str) -> str:
    """Return a title on one line, "" for none; raise BadMessage where it cannot be one."""
    line = " ".join(title.split())
    return checked_text(line, LONGEST_TITLE) if line else ""


def checked_text(text: str, longest: int) -> str:
    """Return the text without outer white space; raise BadMessage where it cannot become a turn."""
    if len(text) > longest:
        raise BadMessage(f"The message has {len(text):,} characters and at most {longest:,} are read; shorten it.")
    text = text.strip()
    if not text:
        raise BadMessage("The message is empty; write something first.")
    for position, letter in enumerate(text):
        if "\ud800" <= letter <= "\udfff":
            raise BadMessage(f"The character at {position} is half of a pair (U+{ord(letter):04X}); remove it.")
        if letter < " " and letter not in KEPT_CONTROLS:
            raise BadMessage(f"The character at {position} is a control code (U+{ord(letter):04X}); remove it.")
    return text
