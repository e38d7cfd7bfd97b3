"""Who may chat under a name: whoever first gives it a passphrase, and from then on whoever knows that; with which keys
programs speak for a person, and how a browser comes back.

Where every name has to have a passphrase, nobody gets in without. Failures are counted by name, so that guessing is
slow. Knows no pages; neither passphrases nor keys nor sessions are kept.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from hashlib import sha256
from secrets import token_hex, token_urlsafe
from threading import Lock

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from app.errors import BadPassphrase
from storage.records import GUEST, HUB, Key, User
from storage.store import Store

SHORTEST, LONGEST = 8, 200
FAILURES, SECONDS = 5, 60.0
"""How many wrong passphrases a name bears within how long, before even the right one has to wait."""
KEY_PREFIX = "imprint-"
SESSION_DAYS = 30
GUEST_PREFIX = "guest-"


class Accounts:
    """Lets people in. Safe to use from any thread."""

    def __init__(self, store: Store, required: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._required = required
        self._clock = clock
        self._hasher = PasswordHasher()
        self._failures: dict[int, list[float]] = defaultdict(list)
        self._lock = Lock()
        self._hashing = Lock()  # a hash takes 64 MiB: one at a time, however many ask

    def sign_in(self, name: str, passphrase: str, session: str = "") -> tuple[User, str]:
        """The person of this name, and what a browser keeps to come back under it, for `SESSION_DAYS`.

        A new one keeps the passphrase, if one is given, and a name that nobody guards yet is guarded from now on by the
        one that comes with it; so is a guest's, where the `session` is theirs. Raise BadPassphrase or InvalidName.
        """
        user, secret = self._let_in(name, passphrase, session)
        return user, self._opened(user, secret)

    def sign_in_as_guest(self) -> tuple[User, str]:
        """Somebody new without a name of their own, whom nothing but this browser's session lets in again."""
        user = self._store.ensure_user(GUEST_PREFIX + token_hex(8))
        self._store.claim(user.id, GUEST)
        return user, self._opened(user, GUEST)

    def sign_in_from_hub(self, subject: str, name: str, is_admin: bool, session: str = "") -> tuple[User, str]:
        """Whom Hugging Face knows by this subject, whatever the name is now, with the `session` if it is theirs."""
        user = self._store.ensure_hub_user(subject, name)
        if is_admin and not user.is_admin:
            self._store.set_admin(user.id, True)
        return user, session if self._extended(session) == user else self._opened(user, HUB)

    def _opened(self, user: User, secret: str | None) -> str:
        """A new session."""
        token = token_urlsafe(32)
        if not self._store.open_session(user.id, _digest(token), _expiry(), secret):
            raise BadPassphrase("Somebody has guarded this name just now; it needs their passphrase.")
        return token

    def _let_in(self, name: str, passphrase: str, session: str) -> tuple[User, str | None]:
        """The person, and the hash that guards the name: None where nothing does."""
        known = self._store.find_user(name)
        secret = self._store.load_secret(known.id) if known else None
        if known and secret == GUEST and self.owner_of_session(session) == known:
            if not passphrase:
                return known, secret
            secret = self._hashed(passphrase)
            self._store.set_secret(known.id, secret)
            return known, secret
        if known and secret:
            self._check(known, secret, passphrase)
            return known, secret
        if self._required and known:
            raise BadPassphrase(
                "This name was in use before names needed a passphrase; choose another, or have the operator set one."
            )
        if not passphrase and not self._required:
            return known or self._store.ensure_user(name), None
        secret = self._hashed(passphrase)
        user = known or self._store.ensure_user(name)
        if not self._store.claim(user.id, secret):
            # Somebody else was faster: the name is theirs.
            secret = self._store.load_secret(user.id) or ""
            self._check(user, secret, passphrase)
        return user, secret

    def guard(self, user_id: int, passphrase: str) -> None:
        """Give a name this passphrase in place of any other: for the operator."""
        self._store.set_secret(user_id, self._hashed(passphrase))

    def issue_key(self, user_id: int, label: str) -> str:
        """A new key with which programs speak for a person; this is the only time that it is seen."""
        token = KEY_PREFIX + token_urlsafe(32)
        self._store.add_key(user_id, _digest(token), label)
        return token

    def list_keys(self, user_id: int) -> list[Key]:
        """Oldest first."""
        return self._store.list_keys(user_id)

    def revoke_key(self, user_id: int, key_id: int) -> None:
        """Have a key open nothing from now on; raise NotFound unless it is this person's."""
        self._store.revoke_key(user_id, key_id)

    def owner_of_key(self, token: str) -> User | None:
        """Who speaks with this key; None for a key that opens nothing."""
        return self._store.owner_of_key(_digest(token))

    def owner_of_session(self, token: str) -> User | None:
        """Who comes back with it; None where it opens nothing, or does so no longer."""
        return self._store.owner_of_session(_digest(token), guarded_only=self._required) if token else None

    def come_back(self, token: str) -> User | None:
        """The same, and it lasts `SESSION_DAYS` from now; but whom Hugging Face lets in comes back by its word only."""
        owner = self.owner_of_session(token)
        if owner and self._store.load_secret(owner.id) == HUB:
            self.close_session(token)
            return None
        return self._extended(token)

    def _extended(self, token: str) -> User | None:
        owner = self.owner_of_session(token)
        if owner:
            self._store.extend_session(_digest(token), _expiry())
        return owner

    def close_session(self, token: str) -> None:
        """Have it open nothing from now on; but a guest's, which is all that ever lets them in, stays."""
        owner = self._store.owner_of_session(_digest(token))
        if owner and self._store.load_secret(owner.id) != GUEST:
            self._store.close_session(_digest(token))

    def _check(self, user: User, secret: str, passphrase: str) -> None:
        """Raise BadPassphrase unless it is the right one, and there were not too many wrong ones of late."""
        now = self._clock()
        with self._lock:
            recent = self._failures[user.id] = [at for at in self._failures[user.id] if now - at < SECONDS]
            if len(recent) >= FAILURES:
                raise BadPassphrase(f"There were too many wrong passphrases for this name; wait {SECONDS:.0f} seconds.")
            recent.append(now)  # before the check, so that many at once do not slip through
        try:
            with self._hashing:
                self._hasher.verify(secret, passphrase)
        except (VerificationError, InvalidHashError, UnicodeEncodeError) as error:
            raise BadPassphrase("This name is guarded by a passphrase, and that was not it; write it below.") from error
        with self._lock:
            self._failures.pop(user.id, None)

    def _hashed(self, passphrase: str) -> str:
        if not SHORTEST <= len(passphrase) <= LONGEST:
            raise BadPassphrase(
                f"A name needs a passphrase here of {SHORTEST} to {LONGEST} characters; this one has {len(passphrase)}."
            )
        try:
            with self._hashing:
                return self._hasher.hash(passphrase)
        except UnicodeEncodeError as error:
            raise BadPassphrase("The passphrase has a broken character; choose another.") from error


def _expiry() -> float:
    return time.time() + SESSION_DAYS * 86_400


def _digest(token: str) -> str:
    """Enough for a secret of 256 random bits: there is nothing to guess from."""
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
