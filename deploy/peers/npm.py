"""Get a package of npm's registry, as it was packed, into a cache folder; nothing of it is run.

    python -m deploy.peers.npm axe-core 4.14.1 --cache .peers      prints the folder of the package

`npm pack` downloads and verifies it. No npm, or no network: `fetch_package` says so with `PackageUnavailable`.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

DOWNLOAD_TIMEOUT_S = 300.0


class PackageUnavailable(RuntimeError):
    """The package cannot be had here; the text says why."""


def package_folder(cache: Path, name: str, version: str) -> Path:
    """Where the package lies once it was fetched."""
    return cache / f"{name.lstrip('@').replace('/', '-')}-{version}"


def fetch_package(name: str, version: str, cache: Path, timeout_s: float = DOWNLOAD_TIMEOUT_S) -> Path:
    """Folder of the package's files, downloaded once.

    Raises
    ------
    PackageUnavailable
        If npm is not installed or cannot fetch the package.
    """
    target = package_folder(cache, name, version)
    if target.is_dir():
        return target
    npm = shutil.which("npm")
    if npm is None:
        raise PackageUnavailable(f"npm is not installed, so {name} cannot be fetched")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        try:
            subprocess.run(
                [npm, "pack", f"{name}@{version}", "--silent"],
                cwd=scratch,
                check=True,
                capture_output=True,
                text=True,
                timeout=timeout_s,
            )
        except subprocess.TimeoutExpired as error:
            raise PackageUnavailable(f"npm did not fetch {name} {version} within {timeout_s:.0f} s") from error
        except subprocess.CalledProcessError as error:
            reason = (error.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise PackageUnavailable(f"npm could not fetch {name} {version}: {reason}") from error
        package = next(Path(scratch).glob("*.tgz"))
        with tarfile.open(package) as archive:
            archive.extractall(scratch, filter="data")
        (Path(scratch) / "package").replace(target)
    return target


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Fetch a package from npm's registry.")
    parser.add_argument("name")
    parser.add_argument("version")
    parser.add_argument("--cache", type=Path, default=Path(".peers"), help="where to keep it (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        print(fetch_package(options.name, options.version, options.cache))
    except PackageUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
