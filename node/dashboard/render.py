"""Templates to answers: a whole page, one live block of it, or a redirect with a sentence for the next page.

    page function --values--> Renderer.page() --> base.html + page  (address)
                                              --> one block of it   (address?fragment=BLOCK, asked for by htmx)

A live block is written where it stands, `<section {{ live("jobs", "job", "delivery") }}>{% block jobs %}...`, and is
fetched again from the page's own address when one of its topics changes. Macros are `ui.*` (macros.html), charts
`chart.*` (node.dashboard.charts); inside blocks and macros `_`, `csrf()`, `now()` and `me()` are always there.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from node import __version__
from node.dashboard import charts, i18n, marks
from node.dashboard.i18n import N_
from node.dashboard.security import cookies
from node.dashboard.security.addresses import Networks, is_https
from node.dashboard.security.principal import Principal
from node.registry.roles import Role

TEMPLATES = Path(__file__).with_name("templates")
THEMES = {"auto": N_("auto"), "light": N_("light"), "dark": N_("dark")}


@dataclass(frozen=True)
class NavItem:
    """An entry of the navigation, shown to those who may open it once the page exists."""

    path: str
    label: str
    role: Role = Role.VIEWER


NAVIGATION = (
    NavItem("/", N_("Overview")),
    NavItem("/jobs", N_("Jobs")),
    NavItem("/studies", N_("Studies")),
    NavItem("/routing", N_("Routing")),
    NavItem("/destinations", N_("Destinations")),
    NavItem("/models", N_("Models")),
    NavItem("/trends", N_("Trends")),
    NavItem("/users", N_("Users"), Role.ADMIN),
    NavItem("/audit", N_("Audit"), Role.ADMIN),
)


@dataclass(frozen=True)
class _Frame:
    """The request that a template is being filled for."""

    request: Request
    now: datetime
    me: Principal | None


_frame: ContextVar[_Frame] = ContextVar("frame")


class Renderer:
    """The templates of the dashboard. `paths` (of all routes) decides which entries the navigation has."""

    def __init__(self, clock: Any, trusted: Networks, public_url: str) -> None:
        self._clock = clock
        self._trusted = trusted
        self._public_url = public_url
        self.paths: frozenset[str] = frozenset()
        env = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        env.globals.update(
            _=i18n.translate,
            csrf=lambda: cookies.csrf_token(_frame.get().request),
            now=lambda: _frame.get().now,
            me=lambda: _frame.get().me,
            here=_here,
            live=_live,
            with_query=_with_query,
            chart=charts,
            LANGUAGES=i18n.LANGUAGES,
            THEMES=THEMES,
            version=__version__,
        )
        env.globals.update(marks.GLOBALS)
        env.filters.update(marks.FILTERS)
        self._env = env
        env.globals["ui"] = env.get_template("macros.html").module

    def page(
        self, request: Request, template: str, values: dict[str, Any] | None = None, status: int = 200
    ) -> Response:
        """A whole page, or the block that `?fragment=` names."""
        me = getattr(request.state, "principal", None)
        token = _frame.set(_Frame(request, self._clock(), me))
        try:
            found = self._env.get_template(template)
            given = {**self._common(request, me), **(values or {})}
            block = fragment_of(request)
            if block:
                if block not in found.blocks:
                    return Response(status_code=404)
                return HTMLResponse("".join(found.blocks[block](found.new_context(given))), status)
            answer = HTMLResponse(found.render(given), status)
        finally:
            _frame.reset(token)
        secure = self.secure(request)
        if getattr(request.state, "new_visitor", None):
            cookies.put(answer, cookies.VISITOR, request.state.new_visitor, secure)
        if cookies.FLASH in request.cookies:
            cookies.drop(answer, cookies.FLASH)
        return answer

    def done(self, request: Request, where: str, text: str = "", tone: str = "good") -> Response:
        """After a change: on to the page `where` (a local path), which says `text` once."""
        answer = RedirectResponse(where, 303)
        if text:
            packed = base64.urlsafe_b64encode(json.dumps([tone, text[:800]]).encode()).decode()
            cookies.put(answer, cookies.FLASH, packed, self.secure(request), age_s=60)
        return answer

    def secure(self, request: Request) -> bool:
        """Whether cookies are for TLS only."""
        return is_https(request, self._trusted, self._public_url)

    def _common(self, request: Request, me: Principal | None) -> dict[str, Any]:
        return {
            "request": request,
            "language": i18n.LANGUAGE.get(),
            "html_language": i18n.HTML_LANGUAGE[i18n.LANGUAGE.get()],
            "theme": theme_of(request),
            "navigation": [n for n in NAVIGATION if me and n.path in self.paths and me.may(n.role)],
            "flash": _flash(request),
        }


def fragment_of(request: Request) -> str:
    """The block that is asked for instead of the page; "" for the page. A page may skip the queries of the others."""
    return request.query_params.get("fragment", "")


def theme_of(request: Request) -> str:
    chosen = request.cookies.get(cookies.THEME, "auto")
    return chosen if chosen in THEMES else "auto"


def local_path(given: str, otherwise: str = "/") -> str:
    """`given` if it is a path on this site, so that no link can send a person elsewhere after the login."""
    plain = given.startswith("/") and not given.startswith("//")
    if not plain or "\\" in given or any(ord(c) < 0x20 or ord(c) == 0x7F for c in given):
        return otherwise
    return given


def _flash(request: Request) -> tuple[str, str] | None:
    try:
        tone, text = json.loads(base64.urlsafe_b64decode(request.cookies.get(cookies.FLASH, "")))
    except (ValueError, TypeError):
        return None
    return (str(tone) if tone in ("good", "bad") else "good", str(text))


def _query(request: Request, drop: Sequence[str] = ()) -> list[tuple[str, str]]:
    return [(name, value) for name, value in request.query_params.multi_items() if name not in drop and value]


def _with_query(**changes: Any) -> str:
    """This page's address with some query parameters changed; None takes one out."""
    request = _frame.get().request
    pairs = _query(request, (*changes, "fragment")) + [(k, str(v)) for k, v in changes.items() if v is not None]
    return request.url.path + (f"?{urlencode(pairs)}" if pairs else "")


def _here() -> str:
    """This page's path and query, for coming back to."""
    return _with_query()


def _live(block: str, *topics: str) -> Markup:
    """Attributes of the element around a block that is to be fetched again on these topics of `node.dashboard.live`.

    "every 5s" among the topics asks by the clock, for what nothing announces: a worker that was killed says nothing.
    """
    trigger = ", ".join(topic if topic.startswith("every ") else f"sse:{topic} throttle:700ms" for topic in topics)
    return Markup('id="live-{0}" data-live hx-get="{1}" hx-trigger="{2}" hx-swap="innerHTML"').format(
        block, _with_query(fragment=block), trigger
    )
