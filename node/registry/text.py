"""Text from elsewhere, made fit for every database.

A pipeline's error may quote a damaged header, and a peer's error comment is whatever it sends. PostgreSQL takes no
NUL, and neither database takes half a surrogate pair: the outcome of a job must not be lost for such a character.
"""

from __future__ import annotations

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def storable(text: str) -> str:
    """`text` with every character that a database refuses replaced by U+FFFD."""
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace").replace("\0", REPLACEMENT)
