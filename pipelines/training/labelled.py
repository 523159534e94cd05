"""What evaluations on labelled real data share: the error that says why a folder cannot be used."""

from __future__ import annotations


class LabelledDataError(ValueError):
    """A folder or file of labelled data cannot be used; the text names it and says what is expected."""
