"""Which names and texts are kept, and in which form."""

import pytest

from storage.errors import InvalidName, InvalidText
from storage.store import Store
from storage.texts import check_text, clean_name


def test_a_name_is_stripped_and_composed() -> None:
    assert clean_name("  Zoe\u0308 \n") == "Zo\u00eb"


def test_a_name_of_eighty_characters_is_kept() -> None:
    assert clean_name("x" * 80) == "x" * 80


@pytest.mark.parametrize("name", ["", "   ", "x" * 81, "a\x00b", "a\nb", "a\x1bb", "a\ud83d", "a\u2028b"])
def test_a_name_that_cannot_be_shown_is_refused(store: Store, name: str) -> None:
    with pytest.raises(InvalidName, match="A name"):
        store.ensure_user(name)


def test_looking_for_a_name_that_nobody_can_have_is_refused(store: Store) -> None:
    with pytest.raises(InvalidName, match="81"):
        store.find_user("x" * 81)


@pytest.mark.parametrize("text", ["", " ", "\t\r\n", "🙂 e\u0301", "\u202e", "x" * 100_000, "'); DROP TABLE turns;--"])
def test_any_other_text_can_be_kept(text: str) -> None:
    check_text(text)


@pytest.mark.parametrize(("text", "named"), [("secret\ud83d", "U\\+D83D at position 6"), ("a\0", "U\\+0000")])
def test_a_text_that_no_database_stores_is_refused_without_repeating_it(text: str, named: str) -> None:
    with pytest.raises(InvalidText, match=named) as refusal:
        check_text(text)
    assert "secret" not in str(refusal.value)
