"""Reading the configuration: files, then environment, then checked as one; all mistakes come together.

    config/osteon.yaml --+
    OSTEON__A__B=...   --+--> Settings --+
    config/destinations.yaml ------------+--> Configuration (with the folders it speaks of)

Rules (`routing.yaml`) are read by `node.assemble.rules`, which knows their grammar.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from node.errors import ConfigurationError
from node.settings.model import AnyDestination, Destination, Settings

ENVIRONMENT_PREFIX = "OSTEON__"
DESTINATION_TYPES = ("dicom", "dicomweb")
"""pydantic names the kind of a destination among the parts of a key; the file has no such part."""

REPOSITORY_CONFIG = Path(__file__).resolve().parents[2] / "config"


class _DestinationFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    destinations: tuple[AnyDestination, ...] = ()


@dataclass(frozen=True)
class Configuration:
    """The configuration of one process: settings, destinations, and the two folders."""

    settings: Settings
    destinations: tuple[AnyDestination, ...]
    config_dir: Path
    data_dir: Path

    @property
    def database_url(self) -> str:
        """SQLAlchemy URL: the configured server, else SQLite in the data folder."""
        return self.settings.registry.url or f"sqlite:///{self.data_dir / 'registry.sqlite'}"

    @property
    def weights_dir(self) -> Path:
        """The site's own weights, which take precedence over those that ship."""
        return self.settings.worker.weights_dir or self.data_dir / "weights"

    def destination(self, name: str) -> AnyDestination:
        """The destination of that name.

        Raises
        ------
        ConfigurationError
            If there is none; the text lists the names there are.
        """
        for destination in self.destinations:
            if destination.name == name:
                return destination
        names = ", ".join(d.name for d in self.destinations) or "none"
        raise ConfigurationError([f"{self.config_dir / 'destinations.yaml'}: no destination '{name}' (there: {names})"])


def read_yaml(path: Path) -> Any:
    """The content of a YAML file; an absent or empty file is an empty mapping.

    Raises
    ------
    ConfigurationError
        If it is not YAML or not text; the text names file, line and column.
    """
    if not path.exists():
        return {}
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigurationError([f"{path}:{where}: {getattr(error, 'problem', None) or error}"]) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError([f"{path}: cannot be read: {error}"]) from error


def load_configuration(
    config_dir: Path | None = None, data_dir: Path | None = None, environment: Mapping[str, str] | None = None
) -> Configuration:
    """Read and check the configuration.

    Parameters
    ----------
    config_dir, data_dir
        Folders as given on the command line; None asks OSTEON_CONFIG / OSTEON_DATA, then `config/` and
        `./osteon-data`. Where no `config/` lies in the working folder, the one beside the program serves.
    environment
        For tests; None is the process's own.

    Raises
    ------
    ConfigurationError
        With every mistake, as 'file: key: what is wrong'.
    """
    environment = os.environ if environment is None else environment
    folder = _config_folder(config_dir, environment)
    data = Path(data_dir or environment.get("OSTEON_DATA") or "osteon-data").absolute()
    # In a database URL it begins the options: SQLite would make its file elsewhere, under the path's first part.
    problems = [f"--data: the path {data} has a '?' in it; use a folder without"] if "?" in str(data) else []
    settings, destinations = Settings(), _DestinationFile()

    settings_file = folder / "osteon.yaml"
    try:
        values, origins = _overlay(read_yaml(settings_file), environment)
        settings = Settings.model_validate(values)
    except ConfigurationError as error:
        problems += error.problems
    except ValidationError as error:
        problems += _describe(error, settings_file, origins)
    destinations_file = folder / "destinations.yaml"
    try:
        destinations = _DestinationFile.model_validate(read_yaml(destinations_file))
    except ConfigurationError as error:
        problems += error.problems
    except ValidationError as error:
        problems += _describe(error, destinations_file, {})
    problems += _cross_checks(settings, destinations.destinations, settings_file, destinations_file)
    if problems:
        raise ConfigurationError(problems)
    return Configuration(settings, destinations.destinations, folder, data)


def _config_folder(given: Path | None, environment: Mapping[str, str]) -> Path:
    named = given or (Path(environment["OSTEON_CONFIG"]) if environment.get("OSTEON_CONFIG") else None)
    if named is not None:
        if not named.is_dir():
            raise ConfigurationError([f"{named}: the configuration folder does not exist"])
        return named.absolute()
    local = Path("config")
    return local.absolute() if (local / "osteon.yaml").exists() else REPOSITORY_CONFIG


def _overlay(values: Any, environment: Mapping[str, str]) -> tuple[Any, dict[tuple[str, ...], str]]:
    """Lay environment settings over the file's; also returns which key came from which variable."""
    if not isinstance(values, dict):
        return values, {}
    values = {key: value for key, value in values.items() if value is not None}  # a section with nothing but comments
    origins: dict[tuple[str, ...], str] = {}
    short: dict[str, tuple[str, ...]] = {
        "OSTEON_REDIS_URL": ("queue", "url"),
        "OSTEON_DATABASE_URL": ("registry", "url"),
    }
    named = {k: v for k, v in short.items() if environment.get(k)}
    for variable in sorted(environment):
        if variable.startswith(ENVIRONMENT_PREFIX):
            named[variable] = tuple(part.lower() for part in variable[len(ENVIRONMENT_PREFIX) :].split("__"))
    for variable, key in named.items():
        target = values
        for part in key[:-1]:
            child = target.get(part)
            if not isinstance(child, dict):
                child = target[part] = {}
            target = child
        written = environment[variable]
        target[key[-1]] = written if variable in short else _scalar(variable, written)
        origins[key] = variable
    return values, origins


def _scalar(variable: str, written: str) -> Any:
    """YAML's own reading of a value, so that a number is a number and [A, B] a list, as in the file."""
    try:
        return yaml.safe_load(written)
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or "not readable"
        raise ConfigurationError([f"{variable}: is no value in YAML's notation: {problem}; quote it"]) from error


def _describe(error: ValidationError, file: Path, origins: Mapping[tuple[str, ...], str]) -> list[str]:
    lines = []
    for item in error.errors():
        key = tuple(str(part) for part in item["loc"] if part not in DESTINATION_TYPES)
        source = origins.get(key) or str(file)
        what = "this key is not known" if item["type"] == "extra_forbidden" else item["msg"]
        secret = key[-1:] in (("url",), ("client_secret",))  # may hold a password
        seen = "" if secret or item["type"] in ("extra_forbidden", "missing") else f" (given: {item['input']!r})"
        lines.append(f"{source}: {'.'.join(key) or 'the file'}: {what}{seen}")
    return lines


def _cross_checks(
    settings: Settings, destinations: tuple[AnyDestination, ...], settings_file: Path, destinations_file: Path
) -> list[str]:
    problems = []
    oidc = settings.dashboard.oidc
    if oidc is not None and not settings.dashboard.public_url:
        problems.append(
            f"{settings_file}: dashboard.public_url: is needed with dashboard.oidc; the provider sends people there"
        )
    if oidc is not None and oidc.client_secret_file is not None and not oidc.client_secret_file.exists():
        problems.append(f"{settings_file}: dashboard.oidc.client_secret_file: no file {oidc.client_secret_file}")
    names = [d.name for d in destinations]
    for name in sorted({n for n in names if names.count(n) > 1}):
        problems.append(f"{destinations_file}: destinations: the name '{name}' is given twice")
    with_files: list[tuple[Path, str, object]] = [(settings_file, "listen.tls", settings.listen.tls)]
    for one in destinations:
        section = f"destinations.{one.name}"
        if isinstance(one, Destination):
            with_files.append((destinations_file, f"{section}.tls", one.tls))
        else:
            with_files.append((destinations_file, section, one))
    for file, section, holder in with_files:
        for key in ("certificate", "key", "trusted", "secret_file"):
            path = getattr(holder, key, None)
            if path is not None and not path.exists():
                problems.append(f"{file}: {section}.{key}: there is no file {path}")
    return problems
