"""Changing `routing.yaml`: checked, written in one move, with every version kept.

    edited text --check_text--> problems with line and key
                --save_text--> versions/routing.yaml.<time> (what was there) + routing.yaml (the new text) --> RuleBook

Nothing here routes; a running node takes the new file up by itself (`node.assemble.rule_book`). A version is restored
by saving its text again, so that restoring is checked, kept and undone like any other change.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, SequenceNode

from node.assemble.rules import FILE_NAME, Rules, parse_rules, read_rules, rules_file
from node.errors import ConfigurationError, PermanentError
from node.settings import Configuration

FOLDER = "versions"
MAX_CHARACTERS = 200_000
DIFF_LINES = 80
"""Lines of difference that the audit trail keeps."""

_VERSION = re.compile(r"routing\.yaml\.\d{8}T\d{6}(\d{6})?Z")


@dataclass(frozen=True)
class Version:
    """A kept version: what was in force until `replaced_at`."""

    name: str
    replaced_at: datetime
    byte_count: int


@dataclass(frozen=True)
class Saved:
    """What a change did: the version that keeps the old text (None if there was no file) and the difference."""

    version: str | None
    before_sha256: str
    after_sha256: str
    difference: tuple[str, ...]


def plain_text(text: str) -> str:
    """`text` as it is kept: browsers send forms with CRLF."""
    return text.replace("\r\n", "\n").rstrip() + "\n"


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def check_text(configuration: Configuration, text: str) -> Rules:
    """The rules in an edited text.

    Raises
    ------
    ConfigurationError
        With every mistake as 'line N: key: what is wrong'.
    """
    if len(text) > MAX_CHARACTERS:
        raise ConfigurationError([f"the text is longer than {MAX_CHARACTERS} characters"])
    file = configuration.config_dir / FILE_NAME
    names = frozenset(destination.name for destination in configuration.destinations)
    try:
        return parse_rules(text, file, names)
    except ConfigurationError as error:
        lines = _lines(text)
        raise ConfigurationError([_with_line(problem, f"{file}:", lines) for problem in error.problems]) from error


def save_text(configuration: Configuration, text: str, base_sha256: str, now: datetime) -> Saved:
    """Put a checked text in force and keep what was there.

    Parameters
    ----------
    base_sha256
        Of the text that was edited; another one in force means that somebody else saved meanwhile.

    Raises
    ------
    ConfigurationError
        If the text has mistakes.
    PermanentError
        If the file changed meanwhile, or the folder cannot be written.
    """
    check_text(configuration, text)
    old = read_rules(rules_file(configuration))
    if digest(old) != base_sha256:
        raise PermanentError("the rules were changed by somebody else meanwhile; load them again, then edit")
    target = configuration.config_dir / FILE_NAME
    name = None
    try:
        if target.exists():
            folder = configuration.config_dir / FOLDER
            folder.mkdir(exist_ok=True)
            name = f"{FILE_NAME}.{now.astimezone(UTC):%Y%m%dT%H%M%S%f}Z"
            shutil.copy2(target, folder / name)
        _write(target, text)
    except OSError as error:
        raise PermanentError(
            f"{error.filename or target} cannot be written: {error.strerror}; let the node's user write to "
            f"{configuration.config_dir}, or change the file on its host"
        ) from error
    difference = list(difflib.unified_diff(old.splitlines(), text.splitlines(), "before", "after", lineterm="", n=1))
    if len(difference) > DIFF_LINES:
        difference = [*difference[:DIFF_LINES], f"... and {len(difference) - DIFF_LINES} lines more"]
    return Saved(name, digest(old), digest(text), tuple(difference))


def versions(configuration: Configuration) -> list[Version]:
    """The kept versions, newest first."""
    folder = configuration.config_dir / FOLDER
    found = []
    for path in sorted(folder.glob(f"{FILE_NAME}.*"), reverse=True) if folder.is_dir() else ():
        if _VERSION.fullmatch(path.name):
            stamp = path.name.removeprefix(f"{FILE_NAME}.").rstrip("Z")
            pattern = "%Y%m%dT%H%M%S%f" if len(stamp) > 15 else "%Y%m%dT%H%M%S"
            found.append(Version(path.name, datetime.strptime(stamp, pattern).replace(tzinfo=UTC), path.stat().st_size))
    return found


def version_text(configuration: Configuration, name: str) -> str:
    """The text of a kept version; PermanentError if there is none of that name."""
    if not any(version.name == name for version in versions(configuration)):
        raise PermanentError("there is no such version of the rules")
    return read_rules(configuration.config_dir / FOLDER / name)


def _write(target: Path, text: str) -> None:
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _lines(text: str) -> dict[str, int]:
    """Key path, as problems name it, -> line, counted from 1; empty for what is no YAML."""
    try:
        root = yaml.compose(text, yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    found: dict[str, int] = {}

    def walk(node: Node | None, path: str, depth: int) -> None:
        if depth > 40 or len(found) > 20_000:  # aliases may fold much into little
            return
        children: list[tuple[str, Any, Any]] = []
        if isinstance(node, MappingNode):
            # Under `any` the grammar counts the entries of a mapping like those of a list.
            for number, (key, value) in enumerate(node.value):
                name = str(getattr(key, "value", ""))
                children.append((f"{path}.{name}" if path else name, value, key))
                if path.endswith((".any", ".all", ".not")):
                    children.append((f"{path}[{number}].{name}", value, key))
                    found.setdefault(f"{path}[{number}]", key.start_mark.line + 1)
        elif isinstance(node, SequenceNode):
            children = [(f"{path}[{number}]", item, item) for number, item in enumerate(node.value)]
        for name, value, place in children:
            found.setdefault(name, place.start_mark.line + 1)
            walk(value, name, depth + 1)

    walk(root, "", 0)
    return found


def _with_line(problem: str, prefix: str, lines: dict[str, int]) -> str:
    said = problem.removeprefix(prefix).strip()
    path = said.split(": ", 1)[0]
    while path and path not in lines:
        path = re.sub(r"(\.[^.\[\]]*|\[[^\[\]]*\])$", "", path) if re.search(r"[.\[]", path) else ""
    return f"line {lines[path]}: {said}" if path else said
