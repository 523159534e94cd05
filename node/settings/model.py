"""The shape of the configuration: every setting, its default, its range.

`osteon.yaml` -> Settings, `destinations.yaml` -> Destination list, `routing.yaml` -> rules (their shape is
`node.assemble`'s). Parsed once by `node.settings.load` and handed down; nothing reads files or environment later.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    IPvAnyNetwork,
    SecretStr,
    StringConstraints,
    Tag,
    model_validator,
)

AETitle = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=16, pattern=r"^[ -\[\]-~]+$")
]
"""An AE title: 1 to 16 printable ASCII characters without backslash (PS3.5 6.2)."""

Port = Annotated[int, Field(ge=0, le=65535)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TlsSettings(_Section):
    """TLS of a destination; all three are paths to PEM files."""

    certificate: Path
    key: Path
    trusted: Path | None = None


class ListenTlsSettings(TlsSettings):
    """TLS of the listener; unless told otherwise only peers with a certificate that `trusted` signed come in."""

    require_client_certificate: bool = True


class ListenSettings(_Section):
    ae_title: AETitle = "OSTEON"
    host: str = "127.0.0.1"
    port: Port = 11112
    processes: Annotated[int, Field(ge=1, le=64)] = 2
    require_called_aet: bool = True
    allow_calling_aets: tuple[AETitle, ...] = ()
    max_associations: Annotated[int, Field(ge=1, le=1000)] = 50
    max_pdu_bytes: Annotated[int, Field(ge=16384, le=1 << 20)] = 131072
    acse_timeout_s: Annotated[float, Field(gt=0)] = 10.0
    dimse_timeout_s: Annotated[float, Field(gt=0)] = 60.0
    network_timeout_s: Annotated[float, Field(gt=0)] = 60.0
    tls: ListenTlsSettings | None = None


class SpoolSettings(_Section):
    min_free_bytes: Annotated[int, Field(ge=0)] = 2_000_000_000
    fsync: bool = True
    stale_partial_s: Annotated[float, Field(gt=0)] = 3600.0


class CompletionSettings(_Section):
    """When a series counts as complete."""

    released_quiet_s: Annotated[float, Field(ge=0)] = 5.0
    quiet_s: Annotated[float, Field(ge=0)] = 60.0
    companion_wait_s: Annotated[float, Field(ge=0)] = 900.0


class RegistrySettings(_Section):
    """`url` empty means SQLite in the data folder; OSTEON_DATABASE_URL sets it too."""

    url: Annotated[str, StringConstraints(pattern=r"^((sqlite|postgresql(\+psycopg)?)://.*)?$")] = ""


class QueueSettings(_Section):
    """`url` empty means the embedded Redis of `osteon serve`; OSTEON_REDIS_URL sets it too."""

    url: Annotated[str, StringConstraints(pattern=r"^((redis|rediss|redis\+socket)://.+)?$")] = ""


class WorkerSettings(_Section):
    device: Annotated[str, StringConstraints(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    processes: Annotated[int, Field(ge=0, le=64)] = 1
    weights_dir: Path | None = None
    lease_s: Annotated[float, Field(ge=2)] = 60.0
    max_attempts: Annotated[int, Field(ge=1)] = 3
    retry_backoff_s: Annotated[float, Field(ge=0)] = 30.0


class DeliverySettings(_Section):
    """Exponential back-off: first_retry_s * 2^n, at most max_backoff_s apart, until give_up_after_s have passed."""

    first_retry_s: Annotated[float, Field(gt=0)] = 10.0
    max_backoff_s: Annotated[float, Field(gt=0)] = 3600.0
    give_up_after_s: Annotated[float, Field(gt=0)] = 7 * 86400.0
    lease_s: Annotated[float, Field(ge=2)] = 120.0


def _known_zone(name: str) -> str:
    try:
        if name:
            ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("no time zone of that name is known; write one like Asia/Shanghai or Europe/Berlin") from error
    return name


class ResultSettings(_Section):
    """`timezone` is the zone of the dates and times in results (IANA name); empty means this machine's."""

    timezone: Annotated[str, AfterValidator(_known_zone)] = ""


class RetentionSettings(_Section):
    """Files of studies that are processed and delivered are deleted after `days`, or earlier under disk pressure.

    `undelivered_days` is for results that no destination is configured for, `refused_days` for spool/refused; None
    keeps them for ever.
    """

    days: Annotated[float, Field(gt=0)] = 14.0
    pressure_free_bytes: Annotated[int, Field(ge=0)] = 5_000_000_000
    undelivered_days: Annotated[float, Field(gt=0)] | None = 90.0
    refused_days: Annotated[float, Field(gt=0)] | None = 90.0


RoleName = Literal["viewer", "operator", "admin"]


class OidcSettings(_Section):
    """Login through an identity provider (OpenID Connect); `dashboard.public_url` must be set.

    `client_secret` belongs into the environment, or its file into `client_secret_file`; a public client has neither.
    `roles` names the groups (values of `roles_claim`, which may be a dotted path) that give each role; whoever is in
    none of them gets `default_role`, or is refused where that is empty. `label` is the button's text.
    """

    issuer: Annotated[str, StringConstraints(pattern=r"^(https://\S+|http://(127\.0\.0\.1|localhost)(:\d+)?(/\S*)?)$")]
    client_id: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    client_secret: SecretStr = SecretStr("")
    client_secret_file: Path | None = None
    scopes: tuple[str, ...] = ("openid", "profile")
    name_claim: Annotated[str, StringConstraints(min_length=1)] = "preferred_username"
    roles_claim: Annotated[str, StringConstraints(min_length=1)] = "groups"
    roles: dict[RoleName, tuple[str, ...]] = {}
    default_role: Literal["", "viewer"] = ""
    label: Annotated[str, StringConstraints(max_length=60)] = ""

    def secret(self) -> str:
        """The client's secret, read when it is needed; "" for a public client."""
        if self.client_secret_file is not None:
            return self.client_secret_file.read_text(encoding="utf-8").strip()
        return self.client_secret.get_secret_value()


class DashboardSettings(_Section):
    """`public_url` is how browsers reach it; an https one marks cookies Secure, and is needed behind a TLS proxy.

    `viewer_url` is a study's address in the hospital's viewer, `{study_uid}` standing for its UID; "" shows no link.
    """

    host: str = "127.0.0.1"
    port: Port = 8080
    public_url: Annotated[str, StringConstraints(pattern=r"^(https?://[^/?#\s]+)?$")] = ""
    trusted_proxies: tuple[IPvAnyNetwork, ...] = ()
    session_idle_s: Annotated[float, Field(ge=60)] = 1800.0
    session_absolute_s: Annotated[float, Field(ge=300)] = 43200.0
    patient_names: tuple[RoleName, ...] = ("operator", "admin")
    metrics_from_loopback: bool = True
    viewer_url: Annotated[str, StringConstraints(pattern=r"^(https?://\S*\{study_uid\}\S*)?$")] = ""
    live_poll_s: Annotated[float, Field(ge=0.2, le=60)] = 1.0
    language: Literal["auto", "en", "zh"] = "auto"
    oidc: OidcSettings | None = None


class LogSettings(_Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console", "auto"] = "auto"


IMAGE_MODALITIES = {
    *("BMD", "CR", "CT", "DX", "ES", "IO", "IVOCT", "IVUS", "MG", "MR", "NM", "OCT", "OP", "OPT", "OT", "PT", "PX"),
    *("RF", "RG", "SM", "US", "XA", "XC"),
}
"""Defined terms of Modality (PS3.3 C.7.3.1.1.1) of series that a segmentation can be drawn on."""


def _known_modalities(value: Any) -> Any:
    if value == "all":
        return value
    if not isinstance(value, list | tuple) or not value:
        raise ValueError("write all, or a list of modalities such as [CT, NM]; for no SEG at all take seg out of send")
    names = tuple(str(name).strip().upper() for name in value)
    for name in names:
        if name not in IMAGE_MODALITIES:
            raise ValueError(f"'{name}' is no DICOM modality of images; a SPECT or a planar scan is NM, a PET PT")
    return tuple(dict.fromkeys(names))


class _Place(_Section):
    """What every destination has. `verify` asks the peer afterwards whether it has what was sent.

    `send` chooses kinds of result; `segmentations` chooses among the SEGs of a result by the modality of the series
    that each was drawn on, for a PACS that shows a SPECT/CT's on the CT only, say.
    """

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    send: tuple[Literal["seg", "sr", "sc"], ...] = ("seg", "sr", "sc")
    segmentations: Annotated[Literal["all"] | tuple[str, ...], BeforeValidator(_known_modalities)] = "all"
    verify: Literal["none", "find"] = "none"
    default: bool = True

    @model_validator(mode="after")
    def _segs_to_choose_from(self) -> Self:
        if self.segmentations != "all" and "seg" not in self.send:
            raise ValueError("segmentations chooses among SEGs, but send has no seg: add it or leave segmentations out")
        return self

    def gets(self, kind: str, source_modality: str) -> bool:
        """Whether a result is for it; `source_modality` is that of the series which a SEG was drawn on."""
        chosen = kind != "seg" or self.segmentations == "all" or source_modality in self.segmentations
        return kind in self.send and chosen


class Destination(_Place):
    """One that takes C-STORE."""

    type: Literal["dicom"] = "dicom"
    host: str
    port: Annotated[int, Field(ge=1, le=65535)]
    ae_title: AETitle
    calling_ae_title: AETitle | None = None
    tls: TlsSettings | None = None

    @property
    def address(self) -> str:
        """For a person."""
        return f"{self.host}:{self.port}"


class WebDestination(_Place):
    """One that takes STOW-RS (PS3.18 10.5) at `url`, the root of its DICOMweb service.

    With `username` the secret is that user's password (HTTP Basic), without it a bearer token. It is read when it is
    used, from the environment variable `secret_env` or the file `secret_file`, and never stands in the configuration.
    `trusted` is a PEM file of the site's own authorities.
    """

    type: Literal["dicomweb"]
    url: Annotated[str, StringConstraints(pattern=r"^https?://[^/?#@\s]+(/[^?#\s]*)?$")]
    username: str | None = None
    secret_env: str | None = None
    secret_file: Path | None = None
    trusted: Path | None = None
    timeout_s: Annotated[float, Field(gt=0)] = 120.0

    @model_validator(mode="after")
    def _one_secret(self) -> WebDestination:
        given = [self.secret_env is not None, self.secret_file is not None]
        if all(given):
            raise ValueError("give secret_env or secret_file, not both")
        if self.username is not None and not any(given):
            raise ValueError("a username needs its password: give secret_env or secret_file")
        return self

    @property
    def address(self) -> str:
        """For a person."""
        return self.url


def _type_of(value: Any) -> str:
    return str(value.get("type", "dicom") if isinstance(value, dict) else getattr(value, "type", "dicom"))


AnyDestination = Annotated[
    Annotated[Destination, Tag("dicom")] | Annotated[WebDestination, Tag("dicomweb")],
    Discriminator(
        _type_of,
        custom_error_type="destination_type",
        custom_error_message="type must be dicom or dicomweb",
    ),
]


class Settings(_Section):
    """Everything an operator can set."""

    listen: ListenSettings = ListenSettings()
    spool: SpoolSettings = SpoolSettings()
    completion: CompletionSettings = CompletionSettings()
    registry: RegistrySettings = RegistrySettings()
    queue: QueueSettings = QueueSettings()
    worker: WorkerSettings = WorkerSettings()
    delivery: DeliverySettings = DeliverySettings()
    results: ResultSettings = ResultSettings()
    retention: RetentionSettings = RetentionSettings()
    dashboard: DashboardSettings = DashboardSettings()
    log: LogSettings = LogSettings()
