"""Text from headers, made fit to be kept, compared and shown.

Devices write bytes that they did not declare: Chinese ones often send GB2312 or UTF-8 under no SpecificCharacterSet or
under ISO_IR 100, which then reads as accented Latin letters. `repair_text` recognises that; `clean_text` drops what no
database or terminal takes; `comparable` is the form in which rules compare.
"""

from __future__ import annotations

import re
import unicodedata

MAX_TEXT_CHARACTERS = 256
"""What is kept of one value; longer ones are hostile or free text that no rule needs."""

# pydicom leaves an ISO 2022 escape sequence in the text where it comes a second time within one value.
_ISO_2022_ESCAPE = re.compile(r"\x1b[$(),\-./*+]{1,2}[0-~]")
_LATIN_SETS = frozenset({"", "ISO_IR 6", "ISO_IR 100", "ISO 2022 IR 6", "ISO 2022 IR 100"})


def repair_text(text: str, character_sets: tuple[str, ...]) -> str:
    """The text that the sender meant, where it declared a Latin character set but wrote UTF-8 or GB2312.

    Parameters
    ----------
    text
        As decoded from the declared character set.
    character_sets
        Values of SpecificCharacterSet (0008,0005); empty for none.

    Notes
    -----
    Both readings are strict: UTF-8 hardly ever fits by accident, and GB2312 (not its supersets GBK and GB18030) takes
    bytes above 0xA0 in pairs only, which a lone accented letter of a European word never is; one single pair is
    not believed either ("ÉÈ").
    """
    if text.isascii() or not all(name.strip() in _LATIN_SETS for name in character_sets):
        return text
    try:
        raw = text.encode("latin-1")
    except UnicodeEncodeError:
        return text
    for encoding, least in (("utf-8", 1), ("gb2312", 2)):
        try:
            meant = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        if sum(not character.isascii() for character in meant) >= least:
            return meant
    return text


def clean_text(text: str, limit: int = MAX_TEXT_CHARACTERS) -> str:
    """`text` without control characters and lone surrogates, stripped, at most `limit` characters."""
    printable = "".join(
        " " if character in "\t\r\n" else character
        for character in _ISO_2022_ESCAPE.sub("", text[: 4 * limit])
        if character in "\t\r\n" or unicodedata.category(character) not in ("Cc", "Cs")
    )
    return printable.strip()[:limit].rstrip()


def comparable(text: str) -> str:
    """The form in which texts are compared: NFKC (full-width letters become plain), case-folded, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())[:MAX_TEXT_CHARACTERS]
