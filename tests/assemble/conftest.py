"""Both databases for the tests of this room, and the assembler over either."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.assemble.rules import Rules
from node.registry.database import Registry
from tests.assemble.assembling import Node, parsed_rules
from tests.assemble.objects import configure
from tests.fixtures.postgres import postgres_server, postgres_url
from tests.fixtures.registry import registry, sqlite_registry

__all__ = ["postgres_server", "postgres_url", "registry", "sqlite_registry"]


@pytest.fixture(scope="session")
def rules() -> Rules:
    return parsed_rules()


@pytest.fixture
def node(registry: Registry, tmp_path: Path, rules: Rules) -> Node:
    return Node(registry, configure(tmp_path), rules)
