"""The training commands in the documentation are taken by the command line as they stand."""

from __future__ import annotations

import re
import shlex

import pytest

from node.cli.research import train
from tests.conftest import REPOSITORY


def documented() -> list[str]:
    """`osteon train ...` between backticks; with less than an option and its value it is a mention, no command."""
    found = [
        " ".join(command.split())
        for page in sorted((REPOSITORY / "docs").glob("*.md"))
        for command in re.findall(r"`(osteon train [^`]+)`", page.read_text(encoding="utf-8"))
    ]
    return [command for command in found if len(command.split()) > 4]


def test_there_are_training_commands_to_look_at() -> None:
    assert {command.split()[2] for command in documented()} == {"bone-scan", "lumbar", "spect-ct", "thorax"}


@pytest.mark.parametrize("command", documented())
def test_a_documented_training_command_is_accepted(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)  # --start names folders from there
    chosen = train.make_context("train", shlex.split(command)[2:]).params
    assert chosen["out_dir"] is not None
    assert chosen["only"] != "operating-point" or chosen["start"] is not None
