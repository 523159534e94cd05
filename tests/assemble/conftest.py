"""Both databases for the tests of this room."""

from tests.fixtures.postgres import postgres_server, postgres_url
from tests.fixtures.registry import registry, sqlite_registry

__all__ = ["postgres_server", "postgres_url", "registry", "sqlite_registry"]
