"""The rules of a running process: read again when `routing.yaml` changes, kept as they were when it is broken.

    routing.yaml changed --parse--> good: the next series is routed by them
                                --> broken: the old rules stay, and an event says so, once for each broken file

Every process that routes or takes headers in has a book of its own and looks at the file's identity (inode, size, time)
whenever it asks, which costs one `stat`; nothing is signalled. The first reading is strict, so that a node does not
start with rules that nobody can read.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import structlog

from node.assemble.rules import Rules, load_rules, rules_file
from node.errors import ConfigurationError
from node.registry.database import Registry
from node.registry.events import add_event
from node.settings import Configuration

log = structlog.get_logger(__name__)

_Identity = tuple[str, int, int, int]


class RuleBook:
    """The rules as they are now.

    Parameters
    ----------
    rules
        For tests: these, whatever the file says.

    Raises
    ------
    ConfigurationError
        If the file is broken at the start.
    """

    def __init__(self, configuration: Configuration, rules: Rules | None = None) -> None:
        self._configuration = configuration
        self._fixed = rules is not None
        self._seen = _identity(rules_file(configuration))
        self._rules = load_rules(configuration) if rules is None else rules
        self.problem = ""
        """Why the file as it is now cannot be used; empty while it can."""

    @property
    def rules(self) -> Rules:
        """The last rules that could be read."""
        return self._rules

    def refresh(self) -> bool:
        """Look whether the file changed; True if it did, and `rules` or `problem` may be new."""
        if self._fixed:
            return False
        seen = _identity(rules_file(self._configuration))
        if seen == self._seen:
            return False
        self._seen = seen
        try:
            self._rules = load_rules(self._configuration)
        except ConfigurationError as error:
            self.problem = str(error)
            log.error("rules.kept_the_old_ones", problems=error.problems)
        else:
            self.problem = ""
            log.info("rules.loaded", rules=[rule.name for rule in self._rules.rules])
        return True

    def tell(self, registry: Registry, now: datetime) -> None:
        """Write an event about what the last `refresh` found."""
        if self.problem:
            text = f"The routing rules cannot be read, so the old ones stay in force. {self.problem}"
            kind, level = "rules.broken", "error"
        else:
            text, kind, level = "The routing rules changed and are in force.", "rules.loaded", "info"
        with registry.transaction() as session:
            add_event(session, now, kind, text[:2000], level=level)


def _identity(file: Path) -> _Identity | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return str(file), found.st_ino, found.st_size, found.st_mtime_ns
