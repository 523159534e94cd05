"""Every setting stands in the shipped files with its default: what is commented out there is read as if it were not."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from node.settings.load import REPOSITORY_CONFIG
from node.settings.model import Destination, ListenTlsSettings, OidcSettings, Settings, TlsSettings, WebDestination

FROM_THE_ENVIRONMENT = {"client_secret"}
"""Secrets that a file should not hold; the comment beside them names the variable."""


@pytest.fixture(scope="module")
def shown() -> dict[str, Any]:
    """osteon.yaml with each setting's '#' removed; what explains begins further to the right."""
    text = (REPOSITORY_CONFIG / "osteon.yaml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(re.sub(r"(?m)^  # ", "  ", text)))


@pytest.fixture(scope="module")
def destinations() -> dict[str, dict[str, Any]]:
    """The examples of destinations.yaml by their type."""
    text = (REPOSITORY_CONFIG / "destinations.yaml").read_text(encoding="utf-8")
    example = text[text.index("# destinations:") :].partition("\n#\n")[0]
    return {one["type"]: one for one in yaml.safe_load(re.sub(r"(?m)^# ?", "", example))["destinations"]}


def fields(model: type[BaseModel]) -> set[str]:
    return set(model.model_fields) - FROM_THE_ENVIRONMENT


def test_every_section_and_every_key_of_the_settings_stands_in_osteon_yaml(shown: dict[str, Any]) -> None:
    assert shown.keys() == fields(Settings)
    for name, field in Settings.model_fields.items():
        assert isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        assert shown[name].keys() == fields(field.annotation), name
    assert shown["listen"]["tls"].keys() == fields(ListenTlsSettings)
    assert shown["dashboard"]["oidc"].keys() == fields(OidcSettings)


def test_what_osteon_yaml_shows_is_the_default(shown: dict[str, Any]) -> None:
    plain = {name: {k: v for k, v in section.items() if k not in ("tls", "oidc")} for name, section in shown.items()}
    assert Settings.model_validate(plain) == Settings()
    assert shown["listen"]["tls"]["require_client_certificate"] is True
    assert ListenTlsSettings.model_fields["require_client_certificate"].default is True


def test_every_key_of_a_destination_stands_in_destinations_yaml(destinations: dict[str, dict[str, Any]]) -> None:
    dicom, web = destinations["dicom"], destinations["dicomweb"]
    assert Destination.model_validate(dicom).tls is not None
    assert dicom.keys() == fields(Destination)
    assert dicom["tls"].keys() == fields(TlsSettings)
    assert WebDestination.model_validate(web).timeout_s == WebDestination.model_fields["timeout_s"].default
    # secret_file excludes secret_env and stands beside it; the rest is said to be "as above".
    assert web.keys() | {"secret_file", "send", "segmentations", "default"} == fields(WebDestination)
    assert "or secret_file: " in (REPOSITORY_CONFIG / "destinations.yaml").read_text(encoding="utf-8")
