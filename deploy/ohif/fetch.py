"""Get the built OHIF viewer from npm into a cache folder.

    python -m deploy.ohif.fetch --cache .peers      prints the folder of the viewer

The package (@ohif/app, MIT) holds the whole viewer in its `dist/`. No npm, or no network: `fetch_ohif` says so with
`OhifUnavailable`, and whoever called goes on without a viewer.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from deploy.peers.npm import DOWNLOAD_TIMEOUT_S, PackageUnavailable, fetch_package, package_folder

PACKAGE = "@ohif/app"
VERSION = "3.13.2"
"""The release that the browser test runs against."""


class OhifUnavailable(RuntimeError):
    """The viewer cannot be had here; the text says why."""


def cached_ohif(cache: Path, version: str = VERSION) -> Path | None:
    """The viewer's folder if it was fetched before."""
    dist = package_folder(cache, PACKAGE, version) / "dist"
    return dist if (dist / "index.html").is_file() else None


def fetch_ohif(cache: Path, version: str = VERSION, timeout_s: float = DOWNLOAD_TIMEOUT_S) -> Path:
    """Folder of the viewer's files, downloaded once.

    Raises
    ------
    OhifUnavailable
        If npm is not installed or cannot fetch the package.
    """
    try:
        fetch_package(PACKAGE, version, cache, timeout_s)
    except PackageUnavailable as error:
        raise OhifUnavailable(str(error)) from error
    found = cached_ohif(cache, version)
    if found is None:
        raise OhifUnavailable(f"@ohif/app {version} holds no dist/index.html")
    return found


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Fetch the OHIF viewer from npm.")
    parser.add_argument("--cache", type=Path, default=Path(".peers"), help="where to keep it (default: %(default)s)")
    parser.add_argument("--version", default=VERSION)
    options = parser.parse_args(arguments)
    try:
        print(fetch_ohif(options.cache, options.version))
    except OhifUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
