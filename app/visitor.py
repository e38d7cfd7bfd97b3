"""Who a page is with: a person, for as long as the session lasts with which they came in. Knows no pages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.errors import NameMissing
from storage.records import User


@dataclass(frozen=True)
class Visitor:
    """What a page's server-side state keeps of a person; `owner_of` says whose a session is now."""

    user: User
    session: str
    owner_of: Callable[[str], User | None]

    def owner(self) -> User:
        """The person, asked anew each time: raise NameMissing once the session is over, here or elsewhere."""
        owner = self.owner_of(self.session)
        if owner is None or owner.id != self.user.id:
            raise NameMissing(f"You are signed out of {self.user.name} here: write the name once more to go on.")
        return owner
