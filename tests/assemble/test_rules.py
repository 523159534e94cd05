"""routing.yaml is read as data: every mistake is told with its place, nothing is executed, nothing silently dropped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.assemble.conditions import check
from node.assemble.rules import Rules, load_rules, parse_rules
from node.errors import ConfigurationError
from node.settings import load_configuration
from tests.assemble.objects import configure

FILE = Path("routing.yaml")


def rules(text: str, destinations: tuple[str, ...] = ("pacs",)) -> Rules:
    return parse_rules(text, FILE, destinations)


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        rules(text)
    return caught.value.problems


def test_the_shipped_rules_are_valid_and_serve_all_four_pipelines(tmp_path: Path) -> None:
    shipped = load_rules(configure(tmp_path))
    assert {rule.pipeline for rule in shipped.rules} == {"bone-scan", "spect-ct", "lumbar", "thorax"}
    assert [rule.name for rule in shipped.rules if not rule.enabled] == ["spect-ct", "thorax"]
    (spect,) = [rule for rule in shipped.rules if rule.pipeline == "spect-ct"]
    assert spect.companion is not None
    assert (spect.companion.role, spect.companion.required, spect.companion.wait_s) == ("ct", False, None)


def test_a_folder_without_routing_gets_the_shipped_rules_and_an_empty_list_routes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "config"
    folder.mkdir()
    assert load_rules(load_configuration(folder, tmp_path, {})).rules
    (folder / "routing.yaml").write_text("rules: []\n", encoding="utf-8")
    assert load_rules(load_configuration(folder, tmp_path, {})).rules == ()


def test_all_mistakes_are_reported_together_with_file_and_key() -> None:
    found = problems("""
rules:
  - name: a b
    pipeline: bone-scan
    priority: 12
    colour: red
    match:
      all:
        - Modalitty: NM
        - {EchoTime: [70, 130]}
        - any: []
  - name: twice
    pipeline: x
    match: {Modality: NM}
  - name: twice
    pipeline: x
    destinations: [nowhere]
    match: {PatientName: "*"}
    companion: {match: {PixelData: 1}}
  - just text
other: 1
""")
    expected = [
        "other: this key is not known",
        "rules[0].match.all[0].Modalitty: 'Modalitty' is not a DICOM keyword",
        "rules[0].match.all[1].EchoTime: [70, 130] without quotes",
        "rules[0].match.all[2].any: 'any' needs a condition",
        "rules[0].name:",
        "rules[0].priority:",
        "rules[0].colour: this key is not known",
        "rules[2].match.PatientName: 'PatientName' is patient data",
        "rules[2].companion.match.PixelData: 'PixelData' holds no text or number",
        "rules[2].companion.role: Field required",
        "rules[3]: a rule is a mapping",
    ]
    for start in expected:
        assert any(problem.startswith(f"{FILE}: {start}") for problem in found), (start, found)
    assert len(found) == len(expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rules: [", "line 1"),
        ("- a\n- b\n", "a list of rules is expected"),
        ("", "a list of rules is expected"),
        ("rules: {}", "a list of rules is expected"),
        ("rules:\n  - {name: a, name: b, pipeline: x, match: {Modality: NM}}", "the key 'name' is given twice"),
        ("rules:\n  - {name: a, pipeline: x, match: {any: {Modality: NM}, any: {Rows: 1}}}", "'any' is given twice"),
        ("rules: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("rules:\n  - {name: a, pipeline: x, match: {Modality: NM}, destinations: []}", "destinations"),
        ("rules:\n  - {name: a, pipeline: x, match: {SeriesDescription: No}}", "put it in quotes"),
    ],
)
def test_what_is_no_rule_file_is_refused(text: str, message: str) -> None:
    assert any(message in problem for problem in problems(text)), problems(text)


def test_two_rules_of_one_name_are_refused() -> None:
    rule = "{name: a, pipeline: x, match: {Modality: NM}}"
    assert problems(f"rules:\n  - {rule}\n  - {rule}") == [
        "routing.yaml: rules[1].name: the name 'a' is given twice",
    ]


def test_an_unknown_destination_is_refused_with_the_known_ones() -> None:
    text = "rules:\n  - {name: a, pipeline: x, destinations: [archive], match: {Modality: NM}}"
    assert problems(text) == ["routing.yaml: rules[0].destinations: no destination 'archive' in destinations.yaml "
                              "(there: pacs)"]  # fmt: skip
    (rule,) = rules(text, ("archive",)).rules
    assert rule.destination_names == ("archive",)


def test_conditions_nested_without_end_are_refused() -> None:
    deep = "{not: " * 40 + "{Modality: NM}" + "}" * 40
    assert any("nested deeper" in p for p in problems(f"rules:\n  - {{name: a, pipeline: x, match: {deep}}}"))


def test_the_rules_know_which_attributes_the_intake_must_keep() -> None:
    found = rules("""
rules:
  - name: a
    pipeline: x
    match: {Modality: NM, not: {RequestAttributesSequence.ScheduledProcedureStepDescription: "*test*"}}
    companion: {role: ct, match: {AcquisitionNumber: 2}}
""")
    assert found.attributes() == {
        "Modality",
        "RequestAttributesSequence.ScheduledProcedureStepDescription",
        "AcquisitionNumber",
    }


def condition_of(match: str) -> Any:
    (rule,) = rules(f"rules:\n  - name: a\n    pipeline: x\n    match: {match}").rules
    return rule.match


@pytest.mark.parametrize(
    ("match", "headers", "answer"),
    [
        ("{Modality: NM, Rows: 4}", {"Modality": "NM", "Rows": 4}, True),
        ("{Modality: NM, Rows: 4}", {"Modality": "NM", "Rows": 5}, False),
        ("{any: {Modality: NM, Rows: 4}}", {"Modality": "CT", "Rows": 4}, True),
        ("{any: [{Modality: NM, Rows: 4}]}", {"Modality": "CT", "Rows": 4}, False),
        ("{not: {Modality: NM, Rows: 4}}", {"Modality": "NM", "Rows": 5}, True),
        ("{not: [{Modality: NM}, {Rows: 4}]}", {"Modality": "NM", "Rows": 5}, False),
        ("{not: [{Modality: NM}, {Rows: 4}]}", {"Modality": "CT", "Rows": 5}, True),
        ("{not: {not: {Modality: NM}}}", {"Modality": "NM"}, True),
        ('{"ImageType[2]": WHOLE BODY}', {"ImageType": ["A", "B", "WHOLE BODY"]}, True),
        ('{"ImageType[1]": WHOLE BODY}', {"ImageType": ["A", "B", "WHOLE BODY"]}, False),
        ('{"ImageType[3]": "*"}', {"ImageType": ["A", "B", "WHOLE BODY"]}, False),
        ('{"ImageType[3]": ~}', {"ImageType": ["A", "B", "WHOLE BODY"]}, True),
        ('{"ImageType[0]": A}', {"ImageType": "A"}, True),
        ("{ImageType: whole body}", {"ImageType": ["A", "B", "WHOLE BODY"]}, True),
        ("{SeriesDescription: ~}", {"SeriesDescription": "  "}, True),
        ("{SeriesDescription: ~}", {}, True),
        ("{SeriesDescription: '*'}", {}, False),
        ("{all: [{Modality: NM}, {any: [{Rows: 1}, {Rows: 2}]}]}", {"Modality": "NM", "Rows": 2}, True),
    ],
)
def test_conditions_combine_as_written(match: str, headers: dict[str, Any], answer: bool) -> None:
    assert check(condition_of(match), headers).matched is answer


def test_the_trace_of_a_condition_shows_every_value_seen_also_after_the_answer_is_known() -> None:
    checked = check(condition_of("{all: [{Modality: NM}, {Rows: 4}, {not: {ImageType: X}}]}"), {"Rows": 5})
    assert checked.as_json() == {
        "all": [
            {"attribute": "Modality", "wanted": "NM", "seen": None, "matched": False},
            {"attribute": "Rows", "wanted": "4", "seen": 5, "matched": False},
            {"not": [{"attribute": "ImageType", "wanted": "X", "seen": None, "matched": False}], "matched": True},
        ],
        "matched": False,
    }
    assert checked.failures() == ["Modality is absent, wanted NM", "Rows is 5, wanted 4"]


leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.floats(allow_nan=True),
    st.text(max_size=12),
    st.lists(st.text(max_size=3)),
)
keys = st.sampled_from(["all", "any", "not", "Modality", "Rows", "ImageType[2]", "Nonsense", "PatientID", "rules"])
trees = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4))
fields = st.sampled_from(["name", "pipeline", "match", "enabled", "priority", "destinations", "companion", "x"])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.dictionaries(fields, trees, max_size=6), max_size=3))
def test_any_yaml_is_either_rules_or_a_list_of_problems(content: list[dict[str, Any]]) -> None:
    """Nothing else may come out: no other exception, and no problem without a file."""
    try:
        found = rules(yaml.safe_dump({"rules": content}, allow_unicode=True))
    except ConfigurationError as error:
        assert error.problems
        assert all(problem.startswith("routing.yaml: ") for problem in error.problems)
    else:
        assert len(found.rules) == len(content)


valid_leaves = st.sampled_from(
    [
        ("Modality", "NM"),
        ("Modality", ["CT", "NM"]),
        ("Rows", ">= 5"),
        ("Rows", None),
        ("ImageType[1]", "B*"),
        ("Rows", 4),
    ]
)
valid_conditions = st.recursive(
    valid_leaves.map(lambda pair: {pair[0]: pair[1]}),
    lambda inner: st.builds(lambda kind, parts: {kind: parts}, st.sampled_from(["all", "any", "not"]),
                            st.lists(inner, min_size=1, max_size=3)),
    max_leaves=12,
)  # fmt: skip


def meaning(condition: dict[str, Any], headers: dict[str, Any]) -> bool:
    """An independent, naive reading of a condition."""
    ((key, value),) = condition.items()
    if key in ("all", "any", "not"):
        answers = [meaning(part, headers) for part in value]
        return {"all": all, "any": any, "not": lambda parts: not any(parts)}[key](answers)
    if key == "Modality":
        return headers.get("Modality") in (value if isinstance(value, list) else [value])
    if key == "ImageType[1]":
        return len(headers.get("ImageType", [])) > 1 and headers["ImageType"][1].startswith("B")
    rows = headers.get("Rows")
    if value is None:
        return rows is None
    return rows is not None and (rows >= 5 if value == ">= 5" else rows == 4)


@settings(max_examples=150, deadline=None)
@given(
    condition=valid_conditions,
    headers=st.fixed_dictionaries(
        {},
        optional={
            "Modality": st.sampled_from(["NM", "CT", "MR"]),
            "Rows": st.integers(3, 6),
            "ImageType": st.lists(st.sampled_from(["A", "B", "BC"]), min_size=1, max_size=3),
        },
    ),
)
def test_any_combination_of_conditions_means_what_a_naive_reading_says(
    condition: dict[str, Any], headers: dict[str, Any]
) -> None:
    text = yaml.safe_dump({"rules": [{"name": "a", "pipeline": "x", "match": condition}]})
    (rule,) = rules(text).rules
    checked = check(rule.match, headers)
    assert checked.matched is meaning(condition, headers)
    assert bool(checked.failures()) is not checked.matched
