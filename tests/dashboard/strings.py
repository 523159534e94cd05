"""Every string that the dashboard asks the catalogues for, read out of its templates and modules."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

from jinja2 import Environment, nodes

import node.dashboard

ROOT = Path(node.dashboard.__file__).parent
FUNCTIONS = {"_", "N_", "Text", "translate"}


@functools.cache
def strings() -> dict[str, str]:
    """English string -> where it stands."""
    found: dict[str, str] = {}
    for path in sorted((ROOT / "templates").rglob("*.html")):
        for text in _of_template(path.read_text(encoding="utf-8")):
            found.setdefault(text, path.name)
    for path in sorted(ROOT.rglob("*.py")):
        for text in _of_module(path.read_text(encoding="utf-8")):
            found.setdefault(text, str(path.relative_to(ROOT)))
    return found


def _of_template(source: str) -> Iterator[str]:
    for call in Environment().parse(source).find_all(nodes.Call):
        named = isinstance(call.node, nodes.Name) and call.node.name == "_"
        if named and call.args and isinstance(call.args[0], nodes.Const):
            yield str(call.args[0].value)


def _of_module(source: str) -> Iterator[str]:
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.func.id not in FUNCTIONS:
            continue
        if call.args and isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, str):
            yield call.args[0].value
