"""Chromium as a person at the dashboard: clicks, what it complains of, axe-core, screenshots.

Anything the pages' scripts throw, any alert, and anything the browser refuses (a script, a style, a foreign address)
is collected in `complaints`. Screenshots go to the folder OSTEON_SCREENSHOTS, where it is set.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from deploy.peers.npm import PackageUnavailable, fetch_package

AXE_VERSION = "4.14.1"
CACHE = Path(os.environ.get("OSTEON_PEERS", Path(__file__).resolve().parents[2] / ".peers"))
SERIOUS = ("serious", "critical")
WAIT_MS = 20_000
VIEWPORT = {"width": 1280, "height": 900}


def axe_source() -> str | None:
    """The script of axe-core; None where it cannot be had."""
    try:
        return (fetch_package("axe-core", AXE_VERSION, CACHE) / "axe.min.js").read_text(encoding="utf-8")
    except PackageUnavailable:
        return None


class Visitor:
    """One browser page at one dashboard."""

    def __init__(self, browser: Any, address: str, **context: Any) -> None:
        # Pages forbid foreign scripts; axe-core comes in through the debugger, which that does not concern.
        self.context = browser.new_context(viewport=VIEWPORT, **context)
        self.page = self.context.new_page()
        self.page.set_default_timeout(WAIT_MS)
        self.address = address
        self.complaints: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(f"script: {error}"))
        self.page.on("dialog", self._alert)
        self.page.on("console", self._said)
        self._axe = axe_source()

    def _alert(self, dialog: Any) -> None:
        self.complaints.append(f"alert: {dialog.message}")
        dialog.dismiss()

    def _said(self, message: Any) -> None:
        if message.type == "error" and "the server responded with a status of" not in message.text:
            self.complaints.append(f"console: {message.text}")

    def open(self, path: str) -> None:
        answer = self.page.goto(self.address + path)
        assert answer is not None and answer.status < 400, f"{path}: {answer and answer.status}"

    def sees(self, text: str, within: str = "body", timeout_s: float = WAIT_MS / 1000) -> None:
        """Wait until the text stands in that part of the page, without loading it again."""
        self.page.locator(within).filter(has_text=text).first.wait_for(timeout=timeout_s * 1000)

    def press(self, label: str, within: str = "main") -> None:
        """Press the button of that label; one that asks first is answered."""
        place = self.page.locator(within)
        asking = place.locator("details.sure:not([open]) > summary", has_text=re.compile(f"^{re.escape(label)}$"))
        if asking.count():
            asking.first.click()
            place.locator("details.sure[open] button", has_text=label).first.click()
            return
        place.get_by_role("button", name=label, exact=True).first.click()

    def fill(self, **fields: str) -> None:
        for name, value in fields.items():
            self.page.locator(f"#f-{name}").fill(value)

    def violations(self) -> list[str]:
        """What axe-core finds that is serious or worse, as 'rule: element'; empty without axe-core."""
        if self._axe is None:
            return []
        if not self.page.evaluate("typeof window.axe === 'object'"):
            self.page.evaluate(self._axe)
        found = self.page.evaluate("async () => (await axe.run(document, {resultTypes: ['violations']})).violations")
        return [
            f"{one['id']} ({one['impact']}): {node['target']} {[check['message'] for check in node['any']]}"
            for one in found
            if one["impact"] in SERIOUS
            for node in one["nodes"]
        ]

    def shoot(self, name: str) -> None:
        """A picture of the whole page for the documentation, if a folder for it is named."""
        folder = os.environ.get("OSTEON_SCREENSHOTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)

    def painted(self, selector: str) -> int:
        """How many pixels of an image of the page are not transparent."""
        return int(
            self.page.locator(selector).first.evaluate(
                """async (image) => {
                    await image.decode();
                    const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
                    const context = canvas.getContext('2d');
                    context.drawImage(image, 0, 0);
                    const {data} = context.getImageData(0, 0, canvas.width, canvas.height);
                    let painted = 0;
                    for (let i = 3; i < data.length; i += 4) painted += data[i] > 0;
                    return painted;
                }"""
            )
        )
