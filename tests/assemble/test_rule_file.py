"""Rules that are edited: mistakes with their line, saving with versions, and a node that follows without a restart."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from node.assemble import Assembler
from node.assemble.rule_book import RuleBook
from node.assemble.rule_file import check_text, digest, save_text, version_text, versions
from node.errors import ConfigurationError, PermanentError
from node.registry.database import Registry
from node.settings import Configuration, Settings
from node.storage import LocalStorage
from tests.assemble.assembling import Node, parsed_rules
from tests.assemble.objects import NOW
from tests.fixtures.registry import sqlite_registry

__all__ = ["sqlite_registry"]

FIRST = """rules:
  - name: bone
    pipeline: bone-scan
    match: {SeriesDescription: "*bone*"}
"""
SECOND = FIRST.replace("*bone*", "*skelet*")
WRONG = """rules:
  - name: bone
    pipeline: bone-scan
    match:
      all:
        - Modality: NM
        - any:
            SeriesDescription: "*bone*"
            SeriesDescripton: "*skelet*"
  - name: two
    match: {Modality: CT}
    destinations: [nowhere]
"""


@pytest.fixture
def configured(tmp_path: Path) -> Configuration:
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "routing.yaml").write_text(FIRST)
    return Configuration(Settings(), (), folder, tmp_path / "data")


def test_every_mistake_comes_with_its_line_and_key(configured: Configuration) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_text(configured, WRONG)
    starts = [problem.split(":")[:2] for problem in caught.value.problems]
    assert [line for line, _ in starts] == ["line 9", "line 10"], caught.value.problems
    assert "SeriesDescripton" in starts[0][1] and "rules[1].pipeline" in starts[1][1]
    with pytest.raises(ConfigurationError, match=r"line 3, column"):
        check_text(configured, "rules:\n  - name: a\n   pipeline: b\n")
    with pytest.raises(ConfigurationError, match=r"line 4: rules\[0\]\.destinations: no destination 'away'"):
        check_text(configured, FIRST.replace("    match", "    destinations: [away]\n    match"))


def test_saving_keeps_what_was_there_and_can_be_undone(configured: Configuration) -> None:
    saved = save_text(configured, SECOND, digest(FIRST), NOW)
    file = configured.config_dir / "routing.yaml"
    assert file.read_text() == SECOND
    (kept,) = versions(configured)
    assert (kept.name, kept.replaced_at) == (saved.version, NOW)
    assert version_text(configured, kept.name) == FIRST
    assert [line for line in saved.difference if line[:1] in "+-"][2:] == [
        '-    match: {SeriesDescription: "*bone*"}',
        '+    match: {SeriesDescription: "*skelet*"}',
    ]
    save_text(configured, version_text(configured, kept.name), digest(SECOND), NOW + timedelta(seconds=1))
    assert file.read_text() == FIRST
    assert [version_text(configured, one.name) for one in versions(configured)] == [SECOND, FIRST]
    assert sorted(path.name for path in configured.config_dir.iterdir()) == ["routing.yaml", "versions"]


def test_neither_a_mistake_nor_a_stale_edit_nor_a_foreign_path_gets_through(configured: Configuration) -> None:
    with pytest.raises(ConfigurationError):
        save_text(configured, WRONG, digest(FIRST), NOW)
    with pytest.raises(PermanentError, match="changed by somebody else"):
        save_text(configured, SECOND, digest("what I saw"), NOW)
    with pytest.raises(PermanentError, match="no such version"):
        version_text(configured, "../routing.yaml")
    assert (configured.config_dir / "routing.yaml").read_text() == FIRST
    assert versions(configured) == []


def test_a_changed_file_is_taken_up_and_a_broken_one_leaves_the_old_rules(configured: Configuration) -> None:
    book = RuleBook(configured)
    assert not book.refresh()
    save_text(configured, SECOND, digest(FIRST), NOW)
    assert book.refresh() and not book.refresh()
    assert book.rules.rules[0].match.test is not None and book.rules.rules[0].match.test.text == "*skelet*"
    (configured.config_dir / "routing.yaml").write_text("rules: {")
    assert book.refresh() and "routing.yaml" in book.problem
    assert [rule.name for rule in book.rules.rules] == ["bone"]
    (configured.config_dir / "routing.yaml").write_text(FIRST)
    assert book.refresh() and book.problem == ""


def test_a_running_node_routes_by_the_new_rules_and_says_when_it_cannot(
    configured: Configuration, sqlite_registry: Registry
) -> None:
    node = Node(sqlite_registry, configured, parsed_rules())
    node.assembler = Assembler(
        configured, sqlite_registry, LocalStorage(configured.data_dir), lambda *_: None, installed=("bone-scan",)
    )
    node.receive(1, description="skeleton")
    node.step()
    assert node.jobs() == []
    save_text(configured, SECOND, digest(FIRST), NOW)
    node.receive(2, description="skeleton")
    node.step()
    assert [job.rule for job in node.jobs()] == ["bone"]
    (configured.config_dir / "routing.yaml").write_text("rules: {")
    node.receive(3, description="skeleton")
    node.step()
    assert len(node.jobs()) == 2, "the last rules that could be read stay in force"
    assert [kind for kind in node.events() if kind.startswith("rules.")] == ["rules.loaded", "rules.broken"]
