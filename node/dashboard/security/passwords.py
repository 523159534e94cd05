"""Passwords: argon2id hashes, checked at the same cost whether or not the account exists; weak ones refused.

Rules follow NIST SP 800-63B: length and a list of common ones, no rules on kinds of characters, no expiry.
"""

from __future__ import annotations

import functools
import itertools
import re
import secrets
import threading
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from node.dashboard.i18n import Text
from node.errors import PermanentError

MIN_LENGTH = 12
MAX_LENGTH = 256
"""Long enough for any sentence; without a limit, a megabyte would be hashed for anyone who asks."""

COMMON = frozenset(Path(__file__).with_name("common_words.txt").read_text(encoding="utf-8").split())
"""Words that common passwords are made of; a password that is nothing but these and digits is refused."""

_hasher = PasswordHasher()  # RFC 9106, the second recommended choice: 64 MiB, 3 passes, 4 lanes


_at_once = threading.BoundedSemaphore(2)
"""Each check takes 64 MiB and a core for a moment: a flood of logins waits here instead of taking the machine."""


class WeakPassword(PermanentError):
    """The password breaks a rule; the text says which."""

    def __init__(self, text: Text) -> None:
        self.text = text
        super().__init__(text)


def check_strength(password: str, name: str) -> None:
    """Raise WeakPassword for a password that somebody would guess."""
    if len(password) < MIN_LENGTH:
        raise WeakPassword(
            Text("The password has {length} characters; use at least {least}.", length=len(password), least=MIN_LENGTH)
        )
    if len(password) > MAX_LENGTH:
        raise WeakPassword(Text("The password is longer than {most} characters.", most=MAX_LENGTH))
    folded = password.casefold()
    if name and name.casefold() in folded and len(folded) - len(name) < MIN_LENGTH - 4:
        raise WeakPassword(Text("The password is little more than the user name; choose another one."))
    if len(set(folded)) < 5 or _is_a_run(folded):
        raise WeakPassword(Text("The password repeats a few characters; choose another one."))
    if any(_is_common(spelling) for spelling in (folded, folded.rstrip(_ENDING).translate(_LEET))):
        raise WeakPassword(Text("The password is one of the common ones; choose another one, a sentence for example."))


_ENDING = "0123456789!?.*#-_ "
"""What people put behind a word to make it long enough."""

_LEET = str.maketrans("@4301$5!7", "aaeoissit")


def _is_common(folded: str) -> bool:
    """Whether hardly a letter is left once the common words are taken out."""
    rest = folded
    for word in sorted(COMMON, key=len, reverse=True):
        rest = rest.replace(word, " ")
    return len(re.findall(r"[^\W\d_]", rest)) < 4 and len(set(re.findall(r"\d", rest))) < 7


def _is_a_run(text: str) -> bool:
    """Whether it counts up or down throughout, as 123456789012 and abcdefghijkl do."""
    steps = {
        (ord(b) - ord(a)) % 10 if a.isdigit() and b.isdigit() else ord(b) - ord(a) for a, b in itertools.pairwise(text)
    }
    return steps in ({1}, {-1}, {9})


def hash_password(password: str) -> str:
    """The argon2id hash, in PHC notation."""
    with _at_once:
        return _hasher.hash(password)


@functools.cache
def _nobody() -> str:
    """A hash that no password matches, to be checked where there is no account."""
    return _hasher.hash(secrets.token_urlsafe(32))


def verify_password(password: str, stored: str) -> bool:
    """Whether the password belongs to the hash; an empty hash costs as much and never matches."""
    try:
        with _at_once:
            _hasher.verify(stored or _nobody(), password[: MAX_LENGTH + 1])
    except (VerificationError, InvalidHashError):
        return False
    return bool(stored)


def needs_rehash(stored: str) -> bool:
    """Whether the hash was made with weaker parameters than today's."""
    return _hasher.check_needs_rehash(stored)


def random_password() -> str:
    """A password for an account that a program makes, to be shown once."""
    return secrets.token_urlsafe(15)
