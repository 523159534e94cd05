"""Findings -> DICOM SEG, Structured Report, secondary capture, PNG and summary.json.

    build_results(findings, context) -> [ResultObject]    pure, the same input gives the same bytes
    write_results / write_pictures / write_summary        files, atomically
    summary(findings, objects)                            JSON-ready figures

Knows DICOM objects and codes; never networks, the queue or the database. See `node.results.build` for which objects
a study gets.
"""

from node.results.build import build_results
from node.results.context import (
    NodeIdentity,
    ObjectReference,
    ResultContext,
    ResultKind,
    ResultObject,
    Superseded,
)
from node.results.picture import render, render_png
from node.results.summary import json_schema, summary
from node.results.write import write_atomically, write_pictures, write_results, write_summary

__all__ = [
    "NodeIdentity",
    "ObjectReference",
    "ResultContext",
    "ResultKind",
    "ResultObject",
    "Superseded",
    "build_results",
    "json_schema",
    "render",
    "render_png",
    "summary",
    "write_atomically",
    "write_pictures",
    "write_results",
    "write_summary",
]
