"""Which names and texts can be kept, and in which form.

Knows no tables. A message names the character and its place, never the text around it.
"""

import unicodedata

from storage.errors import InvalidName, InvalidText
from storage.tables import NAME_LENGTH

# Control characters, halves of surrogate pairs, line and paragraph separators.
UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}


def clean_name(name: str) -> str:
    """Return the name as it is stored: stripped and in Unicode's composed form (NFC)."""
    cleaned = unicodedata.normalize("NFC", name).strip()
    if not 1 <= len(cleaned) <= NAME_LENGTH:
        raise InvalidName(f"A name has 1 to {NAME_LENGTH} characters, and this one has {len(cleaned)}: choose another.")
    for character in cleaned:
        if unicodedata.category(character) in UNPRINTABLE:
            raise InvalidName(f"A name cannot hold the control character U+{ord(character):04X}: leave it out.")
    return cleaned


def check_text(text: str) -> None:
    """Refuse what UTF-8 (lone surrogates) or PostgreSQL (NUL) cannot store; every other text comes back unchanged."""
    for position, character in enumerate(text):
        if character == "\0" or "\ud800" <= character <= "\udfff":
            raise InvalidText(
                f"The text cannot be stored because of the character U+{ord(character):04X} at position {position}: "
                "remove it and send the text again."
            )
