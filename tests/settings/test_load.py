"""Configuration: files, environment, and mistakes told together with file and key."""

from pathlib import Path

import pytest

from node.errors import ConfigurationError
from node.settings import load_configuration
from node.settings.load import REPOSITORY_CONFIG


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config").mkdir()
    return tmp_path / "config"


def test_the_shipped_configuration_runs_as_it_is(tmp_path: Path) -> None:
    configuration = load_configuration(REPOSITORY_CONFIG, tmp_path, {})
    assert configuration.settings.listen.ae_title == "OSTEON"
    assert configuration.settings.listen.port == 11112
    assert configuration.settings.listen.host == configuration.settings.dashboard.host == "127.0.0.1"
    assert configuration.destinations == ()


def test_a_file_sets_what_it_names_and_leaves_the_rest(folder: Path, tmp_path: Path) -> None:
    (folder / "osteon.yaml").write_text("listen:\n  port: 104\nspool:\n  # only comments here\n")
    settings = load_configuration(folder, tmp_path, {}).settings
    assert settings.listen.port == 104
    assert settings.listen.ae_title == "OSTEON"


def test_the_environment_wins_over_the_file(folder: Path, tmp_path: Path) -> None:
    (folder / "osteon.yaml").write_text("listen: {port: 104}\n")
    environment = {
        "OSTEON__LISTEN__PORT": "11113",
        "OSTEON__LISTEN__ALLOW_CALLING_AETS": "[CT1, GAMMA2]",
        "OSTEON_REDIS_URL": "redis://localhost:6379/0",
        "OSTEON_DATABASE_URL": "postgresql+psycopg://localhost/osteon",
    }
    configuration = load_configuration(folder, tmp_path, environment)
    assert configuration.settings.listen.port == 11113
    assert configuration.settings.listen.allow_calling_aets == ("CT1", "GAMMA2")
    assert configuration.settings.queue.url == "redis://localhost:6379/0"
    assert configuration.database_url == "postgresql+psycopg://localhost/osteon"


def test_all_mistakes_come_together_with_file_and_key(folder: Path, tmp_path: Path) -> None:
    (folder / "osteon.yaml").write_text("listen:\n  port: 70000\n  ae_titel: X\nworker: {device: gpu}\n")
    (folder / "destinations.yaml").write_text(
        "destinations:\n  - {name: a, host: h, port: 104, ae_title: WAY_TOO_LONG_AE_TITLE}\n"
    )
    with pytest.raises(ConfigurationError) as caught:
        load_configuration(folder, tmp_path, {"OSTEON__LOG__LEVEL": "loud"})
    problems = "\n".join(caught.value.problems)
    assert f"{folder / 'osteon.yaml'}: listen.port" in problems
    assert "listen.ae_titel: this key is not known" in problems
    assert "worker.device" in problems
    assert "OSTEON__LOG__LEVEL: log.level" in problems
    assert f"{folder / 'destinations.yaml'}: destinations.0.ae_title" in problems


def test_broken_yaml_names_line_and_column(folder: Path, tmp_path: Path) -> None:
    (folder / "osteon.yaml").write_text("listen:\n  port: [104\nlog: {}\n")
    with pytest.raises(ConfigurationError, match=r"osteon\.yaml: line 3, column"):
        load_configuration(folder, tmp_path, {})


def test_a_destination_given_twice_and_a_missing_certificate_are_refused(folder: Path, tmp_path: Path) -> None:
    one = "  - {name: pacs, host: h, port: 104, ae_title: PACS}\n"
    (folder / "destinations.yaml").write_text("destinations:\n" + one + one)
    (folder / "osteon.yaml").write_text("listen: {tls: {certificate: /nowhere/a.pem, key: /nowhere/a.key}}\n")
    with pytest.raises(ConfigurationError) as caught:
        load_configuration(folder, tmp_path, {})
    assert any("'pacs' is given twice" in problem for problem in caught.value.problems)
    assert any("listen.tls.certificate: there is no file /nowhere/a.pem" in p for p in caught.value.problems)


def test_mistakes_in_a_dicomweb_destination_are_named_like_those_of_others(folder: Path, tmp_path: Path) -> None:
    (folder / "destinations.yaml").write_text(
        "destinations:\n"
        "  - {name: a, type: dicomweb, url: 'ftp://h/'}\n"
        "  - {name: b, type: dicomweb, url: 'https://h/dicom-web', username: osteon}\n"
        "  - {name: c, type: fhir, url: 'https://h/'}\n"
        "  - {name: d, type: dicomweb, url: 'https://u:p@h/dicom-web'}\n"
    )
    with pytest.raises(ConfigurationError) as caught:
        load_configuration(folder, tmp_path, {})
    problems = "\n".join(caught.value.problems)
    assert "destinations.yaml: destinations.0.url: " in problems
    assert "destinations.1: Value error, a username needs its password" in problems
    assert "destinations.2: type must be dicom or dicomweb" in problems
    assert "destinations.3.url" in problems and "u:p@" not in problems
    (folder / "destinations.yaml").write_text(
        "destinations: [{name: a, type: dicomweb, url: 'https://h/x', secret_file: /nowhere/secret}]\n"
    )
    with pytest.raises(ConfigurationError, match=r"destinations\.a\.secret_file: there is no file /nowhere/secret"):
        load_configuration(folder, tmp_path, {})


PACS = "destinations: [{{name: pacs, host: h, port: 104, ae_title: PACS, {}}}]\n"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("send: [seg, sr]", "all"),
        ("segmentations: all", "all"),
        ("segmentations: [CT]", ("CT",)),
        ("segmentations: [nm, Ct, NM]", ("NM", "CT")),
    ],
)
def test_a_destination_names_the_modalities_whose_segmentations_it_gets(
    folder: Path, tmp_path: Path, written: str, read: object
) -> None:
    (folder / "destinations.yaml").write_text(PACS.format(written))
    assert load_configuration(folder, tmp_path, {}).destination("pacs").segmentations == read


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (
            "segmentations: [SPECT]",
            r"\.segmentations: .*'SPECT' is no DICOM modality of images; a SPECT or .* is NM",
        ),
        ("segmentations: CT", r"\.segmentations: .*write all, or a list of modalities such as \[CT, NM\].*given: 'CT'"),
        ("segmentations: []", r"\.segmentations: .*for no SEG at all take seg out of send"),
        ("segmentations: [CT], send: [sr]", r": .*send has no seg: add it or leave segmentations out"),
    ],
)
def test_a_choice_of_segmentations_that_makes_no_sense_is_refused_with_the_way_out(
    folder: Path, tmp_path: Path, written: str, said: str
) -> None:
    (folder / "destinations.yaml").write_text(PACS.format(written))
    with pytest.raises(ConfigurationError, match=r"destinations\.yaml: destinations\.0" + said):
        load_configuration(folder, tmp_path, {})


def test_a_destination_cannot_be_told_to_ask_for_client_certificates(folder: Path, tmp_path: Path) -> None:
    tls = "tls: {certificate: a.pem, key: a.key, require_client_certificate: false}"
    (folder / "destinations.yaml").write_text(PACS.format(tls))
    with pytest.raises(ConfigurationError, match=r"tls\.require_client_certificate: this key is not known"):
        load_configuration(folder, tmp_path, {})


def test_an_unknown_destination_is_answered_with_those_there_are(folder: Path, tmp_path: Path) -> None:
    (folder / "destinations.yaml").write_text("destinations: [{name: pacs, host: h, port: 104, ae_title: PACS}]\n")
    configuration = load_configuration(folder, tmp_path, {})
    assert configuration.destination("pacs").ae_title == "PACS"
    with pytest.raises(ConfigurationError, match=r"no destination 'pasc' \(there: pacs\)"):
        configuration.destination("pasc")


def test_a_configuration_folder_that_is_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        load_configuration(tmp_path / "nowhere", tmp_path, {})


@pytest.mark.parametrize(
    "variable, value, said",
    [
        ("OSTEON_DATABASE_URL", "nonsense", "OSTEON_DATABASE_URL: registry.url"),
        ("OSTEON_DATABASE_URL", "mysql://u:geheim@h/db", "OSTEON_DATABASE_URL: registry.url"),
        ("OSTEON_REDIS_URL", "localhost:6379", "OSTEON_REDIS_URL: queue.url"),
        ("OSTEON__LISTEN__AE_TITLE", "[abc", "OSTEON__LISTEN__AE_TITLE: is no value in YAML's notation"),
    ],
)
def test_a_variable_that_makes_no_sense_is_named_without_its_password(
    folder: Path, tmp_path: Path, variable: str, value: str, said: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_configuration(folder, tmp_path, {variable: value})
    assert said in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_a_url_is_taken_to_the_letter(folder: Path, tmp_path: Path) -> None:
    url = "postgresql://u:a #b@host/osteon"
    assert load_configuration(folder, tmp_path, {"OSTEON_DATABASE_URL": url}).database_url == url


def test_a_data_folder_that_sqlite_would_misread_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"--data: the path .* has a '\?' in it"):
        load_configuration(folder, tmp_path / "what?", {})


def test_a_time_zone_is_known_by_its_name_or_refused_with_one_that_is(folder: Path, tmp_path: Path) -> None:
    (folder / "osteon.yaml").write_text("results: {timezone: Asia/Shanghai}\n")
    assert load_configuration(folder, tmp_path, {}).settings.results.timezone == "Asia/Shanghai"
    for wrong in ("Asia/Shangai", "../etc/passwd", "CST"):
        with pytest.raises(ConfigurationError, match="write one like Asia/Shanghai"):
            load_configuration(folder, tmp_path, {"OSTEON__RESULTS__TIMEZONE": wrong})
