"""A routing decision is one pure function's, and its trace shows everything that led to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from node.assemble.routing import route, trace_lines
from node.assemble.rules import Rules, parse_rules

HEADERS = {"Modality": "NM", "SeriesDescription": "WB", "Rows": 1024}


def rules(*entries: str) -> Rules:
    return parse_rules("rules:\n" + "".join(f"  - {entry}\n" for entry in entries), Path("routing.yaml"), ())


BONE = "{name: bone, pipeline: bone-scan, match: {Modality: NM, SeriesDescription: 'W*'}}"
THORAX = "{name: thorax, pipeline: thorax, match: {Rows: '>= 1000'}}"
OFF = "{name: idle, pipeline: other, enabled: false, match: {Rows: '>= 1000'}}"
AGAIN = "{name: again, pipeline: bone-scan, match: {Modality: NM}}"
CT = "{name: ct, pipeline: body, match: {Modality: CT, Rows: '*', SeriesDescription: '*'}}"
INSTALLED = {"bone-scan", "thorax", "other", "body"}


def outcomes(headers: dict[str, Any], found: Rules, installed: set[str] = INSTALLED) -> dict[str, str]:
    return {rule.rule: rule.outcome for rule in route(headers, found, installed).rules}


def test_several_rules_may_fire_for_one_series() -> None:
    assert [rule.rule for rule in route(HEADERS, rules(BONE, THORAX, CT), INSTALLED).fired] == ["bone", "thorax"]


def test_a_pipeline_runs_once_for_the_first_of_its_rules_that_matches() -> None:
    trace = route(HEADERS, rules(BONE, AGAIN), INSTALLED)
    assert [rule.rule for rule in trace.fired] == ["bone"]
    assert trace.rules[1].matched
    assert trace.rules[1].outcome == "rule 'again' matches, but rule 'bone' already asks for 'bone-scan'"


def test_a_rule_whose_pipeline_is_not_installed_matches_but_makes_no_job() -> None:
    trace = route(HEADERS, rules(THORAX), {"bone-scan"})
    assert not trace.fired
    assert trace.rules[0].outcome == "rule 'thorax' matches, but pipeline 'thorax' is not installed in this node"
    assert "not installed in this node" in trace.summary


def test_a_rule_that_is_switched_off_says_so() -> None:
    assert outcomes(HEADERS, rules(OFF)) == {"idle": "rule 'idle' matches but is switched off (enabled: false)"}


def test_what_this_node_made_is_never_routed() -> None:
    trace = route({**HEADERS, "MadeByOsteon": True}, rules(BONE, THORAX), INSTALLED)
    assert not trace.fired
    assert trace.summary == "Nothing to do: made by this node, so it is not routed again."


def test_a_rule_that_failed_by_one_condition_is_a_near_miss_with_the_condition_named() -> None:
    trace = route(HEADERS, rules(CT), INSTALLED)
    (miss,) = trace.near_misses
    assert miss.outcome == "Modality is 'NM', wanted CT"
    assert trace.summary == "No rule matched. 'ct' nearly matched (Modality is 'NM', wanted CT)."
    assert not route({}, rules(CT), INSTALLED).near_misses


def test_the_trace_survives_json_and_holds_rule_condition_wanted_and_seen() -> None:
    trace = json.loads(json.dumps(route(HEADERS, rules(BONE, CT), INSTALLED).as_json()))
    assert trace["fired"] == ["bone"]
    assert trace["rules"][0]["conditions"] == {
        "all": [
            {"attribute": "Modality", "wanted": "NM", "seen": "NM", "matched": True},
            {"attribute": "SeriesDescription", "wanted": "W*", "seen": "WB", "matched": True},
        ],
        "matched": True,
    }
    assert set(trace["rules"][1]) == {
        "rule", "pipeline", "matched", "fires", "near_miss", "outcome", "conditions",
    }  # fmt: skip


def test_the_record_of_a_series_leaves_out_conditions_of_rules_that_were_far_off() -> None:
    record = route(HEADERS, rules(BONE, CT, "{name: far, pipeline: body, match: {Modality: US, Rows: 1}}"), INSTALLED)
    kept = {rule["rule"]: rule["conditions"] is not None for rule in record.as_record()["rules"]}
    assert kept == {"bone": True, "ct": True, "far": False}


def test_the_text_shows_every_rule_and_every_condition_with_the_value_seen() -> None:
    text = "\n".join(trace_lines(route(HEADERS, rules(BONE, CT), INSTALLED)))
    for part in (
        "rule bone -> pipeline bone-scan: FIRES",
        "+ SeriesDescription: 'WB'   (wanted: W*)",
        "rule ct -> pipeline body: near miss",
        "- Modality: 'NM'   (wanted: CT)",
        "+ Rows: 1024   (wanted: *)",
    ):
        assert part in text


def test_routing_is_pure() -> None:
    found = rules(BONE, THORAX)
    before = json.dumps(HEADERS)
    assert route(HEADERS, found, INSTALLED) == route(HEADERS, found, INSTALLED)
    assert json.dumps(HEADERS) == before
