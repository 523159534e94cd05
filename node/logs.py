"""Logging: one line per event on standard error, JSON or for a person's eyes, without patient data.

    structlog.get_logger(...)  --+
    pynetdicom, Celery, ... -----+--> one handler --> {"event": ..., "level": ..., "component": ..., ...}
    warnings.warn ---------------+

Libraries quote what they read: a pydicom warning holds the odd value itself, and so may any exception's text.
Foreign loggers are therefore heard from WARNING up (pydicom's from ERROR), warnings are told by category and place
only, and an exception by its type and the places it passed through; the text is kept only for osteon's own errors,
whose sentences are written without patient data. Full tracebacks of jobs stand in the registry.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from node.errors import OsteonError
from node.settings.model import LogSettings

OUR_LOGGERS = ("node", "pipelines")
QUIET_LOGGERS = {"pydicom": logging.ERROR, "highdicom": logging.ERROR, "celery.worker.strategy": logging.ERROR}
"""Libraries whose warnings quote data, or speak of every message."""

FRAMES_SHOWN = 12


def _place(frame: traceback.FrameSummary) -> str:
    parts = Path(frame.filename).parts
    return f"{'/'.join(parts[-3:])}:{frame.lineno} {frame.name}"


def describe_exception(error: BaseException) -> dict[str, Any]:
    """What may be logged of an exception: type, the places it passed, and the text of osteon's own errors."""
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES_SHOWN:]
    described: dict[str, Any] = {"type": type(error).__name__, "at": [_place(frame) for frame in frames]}
    if isinstance(error, OsteonError):
        described["text"] = str(error)
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        described["cause"] = type(cause).__name__
    return described


def _tell_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace `exc_info` by what may be said of it."""
    given = event.pop("exc_info", None)
    error = given if isinstance(given, BaseException) else None
    if given is True:
        error = sys.exc_info()[1]
    elif isinstance(given, tuple):
        error = cast("tuple[type, BaseException, TracebackType]", given)[1]
    if error is not None:
        event["error"] = describe_exception(error)
    return event


def _tell_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    place = "/".join(Path(filename).parts[-3:])
    logging.getLogger("node.warnings").warning("%s raised in %s:%d", category.__name__, place, lineno)


def _tell_uncaught(kind: type[BaseException], error: BaseException, _traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    structlog.get_logger("node").critical("process.crashed", exc_info=error)


def _tell_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None:
        _tell_uncaught(args.exc_type, args.exc_value, args.exc_traceback)


def _processors(component: str) -> list[Processor]:
    """What every line goes through, ours and foreign ones."""

    def name_component(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event.setdefault("component", component)
        return event

    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        name_component,
        _tell_exception,
    ]


def json_formatter(component: str) -> logging.Formatter:
    """Formats records as lines of the log stream, one JSON object each."""
    return _formatter(component, structlog.processors.JSONRenderer(default=str))


def _formatter(component: str, renderer: Processor) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *_processors(component)],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )


def configure_logging(settings: LogSettings, component: str) -> None:
    """Set up logging for this process; once, from the command that starts it.

    Parameters
    ----------
    settings
        Level of osteon's own events, and the format; "auto" is for eyes on a terminal and JSON elsewhere.
    component
        Which part of the node this is ("listen", "worker", ...); stands in every line.
    """
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *_processors(component),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    on_terminal = settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty())
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if on_terminal
        else structlog.processors.JSONRenderer(default=str)
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter(component, renderer))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in OUR_LOGGERS:
        logging.getLogger(name).setLevel(settings.level.upper())
    for name, level in QUIET_LOGGERS.items():
        logging.getLogger(name).setLevel(level)
    warnings.showwarning = _tell_warning
    sys.excepthook = _tell_uncaught
    threading.excepthook = _tell_uncaught_in_thread
    logging.raiseExceptions = False  # a line that cannot be written must not quote its own data on stderr
