"""Get the built OHIF viewer from npm into a cache folder.

    python -m deploy.ohif.fetch --cache .peers      prints the folder of the viewer

`npm pack` downloads and verifies the package (@ohif/app, MIT); its `dist/` is the whole viewer. No npm, or no
network: `fetch_ohif` says so with `OhifUnavailable`, and whoever called goes on without a viewer.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

VERSION = "3.13.2"
"""The release that the browser test runs against."""

DOWNLOAD_TIMEOUT_S = 300.0


class OhifUnavailable(RuntimeError):
    """The viewer cannot be had here; the text says why."""


def cached_ohif(cache: Path, version: str = VERSION) -> Path | None:
    """The viewer's folder if it was fetched before."""
    dist = cache / f"ohif-app-{version}" / "dist"
    return dist if (dist / "index.html").is_file() else None


def fetch_ohif(cache: Path, version: str = VERSION, timeout_s: float = DOWNLOAD_TIMEOUT_S) -> Path:
    """Folder of the viewer's files, downloaded once.

    Raises
    ------
    OhifUnavailable
        If npm is not installed or cannot fetch the package.
    """
    found = cached_ohif(cache, version)
    if found is not None:
        return found
    npm = shutil.which("npm")
    if npm is None:
        raise OhifUnavailable("npm is not installed, so the OHIF viewer cannot be fetched")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        try:
            subprocess.run(
                [npm, "pack", f"@ohif/app@{version}", "--silent"],
                cwd=scratch,
                check=True,
                capture_output=True,
                text=True,
                timeout=timeout_s,
            )
        except subprocess.TimeoutExpired as error:
            raise OhifUnavailable(f"npm did not fetch @ohif/app {version} within {timeout_s:.0f} s") from error
        except subprocess.CalledProcessError as error:
            reason = (error.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise OhifUnavailable(f"npm could not fetch @ohif/app {version}: {reason}") from error
        package = next(Path(scratch).glob("*.tgz"))
        with tarfile.open(package) as archive:
            archive.extractall(scratch, filter="data")
        target = cache / f"ohif-app-{version}"
        shutil.rmtree(target, ignore_errors=True)
        (Path(scratch) / "package").replace(target)
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
