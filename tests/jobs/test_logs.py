"""The log stream: one JSON line per event from every source, and nothing of a patient in any of them.

Each test runs a process of its own, because logging is set up once per process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from tests.fixtures.running_node import REPOSITORY

PATIENT = "MUSTERMANN^ERIKA"
PRELUDE = f"""
import logging, threading, warnings
import structlog
from node.logs import configure_logging
from node.settings.model import LogSettings
configure_logging(LogSettings(format="json", level="info"), "tester")
log = structlog.get_logger("node.somewhere")
PATIENT = {PATIENT!r}
"""


def logged(program: str) -> list[dict[str, Any]]:
    """What the program logs, line by line; every line must be JSON, and none may name the patient."""
    ended = subprocess.run(
        [sys.executable, "-c", PRELUDE + program], capture_output=True, text=True, timeout=60, cwd=REPOSITORY,
        check=False,
    )  # fmt: skip
    assert PATIENT not in ended.stderr + ended.stdout
    return [json.loads(line) for line in ended.stderr.splitlines()]


def test_an_event_has_time_level_component_and_its_values() -> None:
    (line,) = logged("log.info('job.done', job=7); log.debug('not shown')")
    assert (line["event"], line["level"], line["component"], line["job"]) == ("job.done", "info", "tester", 7)
    assert line["timestamp"].endswith("Z")


def test_libraries_are_heard_from_warning_up_in_the_same_form() -> None:
    lines = logged(
        "logging.getLogger('pynetdicom.assoc').info('no')\n"
        "logging.getLogger('pynetdicom.assoc').warning('Association aborted')\n"
        "logging.getLogger('pydicom').warning('value %s is odd', PATIENT)\n"
    )
    assert [line["event"] for line in lines] == ["Association aborted"]


def test_an_exception_is_told_by_type_and_place_and_never_by_its_text() -> None:
    (line,) = logged("try:\n    int(PATIENT)\nexcept ValueError:\n    log.exception('job.error')\n")
    assert line["error"]["type"] == "ValueError"
    assert line["error"]["at"]


def test_osteons_own_sentences_are_kept() -> None:
    (line,) = logged(
        "from node.errors import PermanentError\n"
        "try:\n    raise PermanentError('the store is full')\nexcept PermanentError:\n    log.exception('x')\n"
    )
    assert line["error"]["text"] == "the store is full"


def test_a_warning_is_told_by_category_and_place() -> None:
    (line,) = logged("warnings.warn(f'Invalid value {PATIENT}', stacklevel=1)")
    assert "UserWarning raised in" in line["event"]


def test_a_crash_of_the_process_or_of_a_thread_is_a_line_like_any_other() -> None:
    lines = logged(
        "def crash(): raise RuntimeError(PATIENT)\n"
        "thread = threading.Thread(target=crash)\nthread.start()\nthread.join()\ncrash()\n"
    )
    assert [line["event"] for line in lines] == ["process.crashed", "process.crashed"]
    assert {line["error"]["type"] for line in lines} == {"RuntimeError"}


def test_an_event_that_cannot_be_written_does_not_quote_itself() -> None:
    assert logged("logging.getLogger('node.x').warning('%d', PATIENT)\n") == []
