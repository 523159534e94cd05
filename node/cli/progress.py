"""Progress bars on standard error; silent where nobody looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Report = Callable[[float, str], None]
"""Called with the fraction done (0 to 1) and what is being done."""


@contextmanager
def progress_bar(title: str, *, enabled: bool = True) -> Iterator[Report]:
    """A bar that shows the reported fraction; prints nothing when standard error is not a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not (enabled and console.is_terminal)) as bars:
        task = bars.add_task(title, total=1.0)

        def report(fraction: float, text: str) -> None:
            bars.update(task, completed=fraction, description=text or title)

        yield report
