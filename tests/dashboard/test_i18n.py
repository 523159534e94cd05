"""Every string has its Chinese translation, with the same figures in it; the visitor's choice comes first."""

from __future__ import annotations

import string
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from node.dashboard import i18n, marks
from node.dashboard.i18n import Text, catalogue, choose, translate
from node.registry.roles import Role
from node.registry.series import COMPLETE_ALREADY, FILES_DELETED, STILL_RECEIVED
from node.registry.states import DeliveryState, JobState, SeriesState
from tests.dashboard.conftest import Site, post
from tests.dashboard.strings import strings


def fields(text: str) -> set[str]:
    return {name for _literal, name, _spec, _conversion in string.Formatter().parse(text) if name is not None}


def test_every_string_of_templates_and_code_is_in_the_chinese_catalogue() -> None:
    missing = {text: place for text, place in strings().items() if text not in catalogue("zh")}
    assert missing == {}
    assert len(strings()) > 150, "the reader of strings finds too few to be right"


def test_every_state_and_role_is_in_the_chinese_catalogue_and_has_a_shape() -> None:
    states = [state.value for family in (JobState, DeliveryState, SeriesState) for state in family]
    assert [state for state in states if state not in marks.TONES] == []
    assert [word for word in (*states, *marks.TONES, *Role) if word not in catalogue("zh")] == []
    assert set(marks.TONES.values()) == set(marks.SHAPES)


def test_translations_have_the_figures_of_their_sources() -> None:
    assert [source for source, text in catalogue("zh").items() if fields(text) != fields(source)] == []


def test_no_translation_is_left_over() -> None:
    known = set(strings()) | set(marks.TONES) | {str(role) for role in Role} | HTTP_TITLES | SPOKEN_BY_MACROS
    assert set(catalogue("zh")) - known == set()


HTTP_TITLES = {
    *("Bad Request", "Unauthorized", "Forbidden", "Not Found", "Method Not Allowed", "Conflict", "Too Many Requests"),
    *("Unprocessable Content", "Unprocessable Entity", "Internal Server Error", "Service Unavailable"),
}
SPOKEN_BY_MACROS = {
    *("newer", "older", "back", "further", "console"),
    "the address of this page is damaged; start from the first page",
    *(COMPLETE_ALREADY, STILL_RECEIVED, FILES_DELETED),
}


@pytest.mark.parametrize(
    ("cookie", "header", "configured", "language"),
    [
        ("", "", "auto", "en"),
        ("", "zh-CN,zh;q=0.9,en;q=0.8", "auto", "zh"),
        ("", "fr, en;q=0.4, zh;q=0.7", "auto", "zh"),
        ("", "de", "auto", "en"),
        ("", "zh;q=nonsense, en", "auto", "en"),
        ("", "en", "zh", "zh"),
        ("en", "zh", "zh", "en"),
        ("../zh", "", "auto", "en"),
    ],
)
def test_the_visitors_choice_comes_before_the_settings_and_the_browsers_wish(
    cookie: str, header: str, configured: str, language: str
) -> None:
    assert choose(cookie, header, configured) == language


def test_a_sentence_made_without_a_visitor_is_translated_when_it_is_shown() -> None:
    text = Text("no {kind} worker is alive", kind="infer")
    assert text == "no infer worker is alive"
    token = i18n.LANGUAGE.set("zh")
    try:
        assert translate(text) == "没有存活的 infer 工作进程"
        assert translate("braces {of} a stranger") == "braces {of} a stranger"
    finally:
        i18n.LANGUAGE.reset(token)


def test_switching_to_chinese_holds_for_the_account_on_another_browser(site: Site, viewer: TestClient) -> None:
    answer = post(viewer, "/language", language="zh", next="/account")
    assert answer.headers["location"] == "/account"
    page = viewer.get("/account").text
    assert '<html lang="zh-Hans"' in page
    assert "更改密码" in page
    assert "更改密码" in site.logged_in("vera").get("/account").text


def test_the_settings_language_is_what_a_stranger_sees(make_site: Callable[..., Site]) -> None:
    assert "初始化代码" in make_site(language="zh").browser().get("/setup").text
