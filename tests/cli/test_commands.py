"""The command line: help without torch, exit codes, sentences for what goes wrong, JSON where it is promised."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import select

from node.cli.main import main
from node.registry.account_models import AuditEntry
from node.registry.database import Registry
from node.registry.intake import register
from node.registry.migrate import upgrade
from node.registry.series import complete_series, open_series
from node.settings import load_configuration
from pipelines.contract import DeviceError, WeightsError
from pipelines.phantoms import generate
from tests.conftest import REPOSITORY
from tests.registry.arrivals import NOW, arrival

VERBS = (
    *("serve", "listen", "worker", "dashboard", "upkeep", "run", "route", "send", "doctor"),
    *("phantom", "train", "evaluate", "compare", "models", "bench"),
)


@dataclass(frozen=True)
class Done:
    """What a command said and how it ended."""

    returncode: int
    stdout: str
    stderr: str


Osteon = Callable[..., Done]


@pytest.fixture
def osteon(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Osteon:
    """The program's entry point, called in this process: starting Python and torch anew would take seconds each."""

    def run(*arguments: str, **environment: str) -> Done:
        with monkeypatch.context() as patched:
            patched.setattr(sys, "argv", ["osteon", *arguments])
            for name, value in environment.items():
                patched.setenv(name, value)
            code = 0
            try:
                main()
            except SystemExit as end:
                code = int(end.code or 0)
        return Done(code, *capfd.readouterr())

    return run


def begin_node(data_dir: Path) -> None:
    """An empty registry, as the first start of a node leaves it."""
    registry = Registry(load_configuration(data_dir=data_dir, environment={}).database_url)
    upgrade(registry)
    registry.dispose()


def osteon_process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The same as a process of its own, for verbs that change the whole process."""
    return subprocess.run(
        [sys.executable, "-m", "node.cli.main", *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=REPOSITORY,
        env={**os.environ, **environment},
    )


def test_help_and_the_listener_start_without_torch() -> None:
    verbs = [["--help"], *([verb, "--help"] for verb in (*VERBS, "job", "users"))]
    script = (
        "import sys\n"
        "from node.cli.main import cli\n"
        f"for verb in {verbs!r}: cli.main(verb, standalone_mode=False)\n"
        "import node.receive, node.dashboard.app, node.assemble.explain\n"
        "assert not {'torch', 'monai'} & set(sys.modules), 'torch was imported'\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr


def test_every_command_is_there(osteon: Osteon) -> None:
    text = osteon("--help").stdout
    for verb in VERBS:
        assert f"  {verb} " in text


def test_a_wrong_configuration_ends_with_2_and_names_file_and_key(osteon: Osteon, tmp_path: Path) -> None:
    (tmp_path / "osteon.yaml").write_text("listen: {port: eleven}\n")
    done = osteon("doctor", "--config", str(tmp_path))
    assert done.returncode == 2
    assert f"{tmp_path / 'osteon.yaml'}: listen.port" in done.stderr


def test_an_unknown_pipeline_ends_with_2_and_lists_those_there_are(osteon: Osteon, tmp_path: Path) -> None:
    done = osteon("run", "bone-scam", str(tmp_path), "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert "bone-scan" in done.stderr


def test_a_folder_without_dicom_ends_with_2_and_says_so(osteon: Osteon, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("not DICOM")
    done = osteon("run", "bone-scan", str(tmp_path), "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert "no DICOM file under" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("phantom", "unicorn", "--out"), "there is no phantom 'unicorn'"),
        (("train", "unicorn", "--out"), "there is no pipeline 'unicorn'"),
        (("train", "bone-scan", "--aggregated", "--out"), "--aggregated: an option of thorax"),
        (("evaluate", "lumbar", "--curve", "--out"), "--curve: an option of thorax"),
    ],
)
def test_names_that_never_were_and_options_of_others_are_usage_errors(
    osteon: Osteon, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = osteon(*arguments, str(tmp_path))
    assert done.returncode == 2
    assert said in done.stderr


def test_content_that_is_no_bone_scan_ends_with_3_and_the_reason(
    osteon: Osteon, shared_data: Path, tmp_path: Path
) -> None:
    done = osteon("run", "bone-scan", str(shared_data / "nm" / "FourBar.dcm"), "--out", str(tmp_path / "out"))
    assert done.returncode == 3
    assert done.stderr.startswith("refused: ")
    assert not list((tmp_path / "out").glob("*.dcm"))


@pytest.mark.slow
def test_run_writes_segmentation_report_captures_and_a_summary(osteon: Osteon, tmp_path: Path) -> None:
    (scan,) = generate(1, 701, tmp_path / "in")
    done = osteon("run", "bone-scan", str(scan), "--out", str(tmp_path / "out"), "--json")
    assert done.returncode == 0, done.stderr
    written = {"".join(path.suffixes[-2:]) for path in (tmp_path / "out").iterdir()}
    assert {".seg.dcm", ".sr.dcm", ".sc.dcm"} <= written
    assert list((tmp_path / "out").glob("*.png"))
    assert json.loads(done.stdout) == json.loads((tmp_path / "out" / "summary.json").read_text())


def test_route_explain_names_the_rule_as_json(osteon: Osteon, tmp_path: Path) -> None:
    (scan,) = generate(1, 702, tmp_path / "in")
    done = osteon("route", "explain", str(scan), "--json")
    assert done.returncode == 0, done.stderr
    (trace,) = json.loads(done.stdout)
    assert "bone-scan" in json.dumps(trace)


def test_doctor_on_a_fresh_folder_finds_the_shipped_weights_and_no_destination(osteon: Osteon, tmp_path: Path) -> None:
    done = osteon("doctor", "--json", "--data", str(tmp_path / "data"), OSTEON__LISTEN__PORT="1")
    rows = {row["subject"]: row for row in json.loads(done.stdout)}
    assert rows["destinations"]["outcome"] == "warning"
    assert rows["database"]["outcome"] == rows["Redis"]["outcome"] == "ok"
    weights = [row for subject, row in rows.items() if subject.startswith("weights ")]
    assert len(weights) == len(list((REPOSITORY / "pipelines").glob("*/weights/*.json"))) > 0
    assert all(row["outcome"] == "ok" and "simulated" in row["sentence"] for row in weights)
    assert not (tmp_path / "data").exists(), "doctor must not write"


def test_doctor_names_a_gpu_that_is_configured_and_missing(osteon: Osteon, tmp_path: Path) -> None:
    done = osteon("doctor", "--json", "--data", str(tmp_path), OSTEON__WORKER__DEVICE="cuda:63")
    rows = {row["subject"]: row for row in json.loads(done.stdout)}
    assert done.returncode == 1
    assert rows["device"]["outcome"] == "failed"
    assert "cuda:63" in rows["device"]["sentence"]


def test_jobs_are_listed_and_an_unknown_one_is_said(osteon: Osteon, tmp_path: Path) -> None:
    begin_node(tmp_path)
    assert osteon("job", "list", "--data", str(tmp_path), "--json").stdout.strip() == "[]"
    done = osteon("job", "retry", "17", "--data", str(tmp_path))
    assert done.returncode == 1
    assert "there is no job 17" in done.stderr


def test_a_series_is_routed_again_by_rules_that_were_mended_and_forced_only_while_it_is_received(
    osteon: Osteon, tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.mkdir()
    (config / "routing.yaml").write_text("rules: []\n")
    where = ("--config", str(config), "--data", str(tmp_path))
    registry = Registry(load_configuration(config, tmp_path, {}).database_url)
    upgrade(registry)
    with registry.transaction() as session:
        register(session, [arrival(1)], NOW)
    refused = osteon("route", "again", "1.1.1", *where)
    assert (refused.returncode, "1.1.1: the series is still being received" in refused.stderr) == (1, True)
    assert osteon("job", "complete", "1.1.1", *where).returncode == 0
    with registry.transaction() as session:
        (snapshot,) = open_series(session, 1)
        complete_series(session, snapshot, "forced", NOW)
    again = osteon("job", "complete", "1.1.1", *where)
    assert (again.returncode, again.stdout) == (1, "")
    assert "the series is complete already" in again.stderr
    assert osteon("route", "again", "1.1.1", *where).stdout == "1.1.1: No rule matched.\n"
    (config / "routing.yaml").write_text("rules: [{name: nm, pipeline: bone-scan, match: {Modality: NM}}]\n")
    done = osteon("route", "again", "9.9", "1.1.1", *where)
    assert done.stdout.splitlines() == [
        "1.1.1: rule 'nm' asks for pipeline 'bone-scan'.",
        "  job 1 (bone-scan) is made: queued",
    ]
    assert (done.returncode, "9.9: there is no series 9.9" in done.stderr) == (1, True)
    done = osteon("route", "again", "1.1.1", *where)
    assert (done.returncode, done.stdout.splitlines()[1]) == (0, "  job 1 (bone-scan) was there: queued")
    with registry.reading() as session:
        assert [entry.action for entry in session.scalars(select(AuditEntry).order_by(AuditEntry.id))] == [
            "series.complete", *("series.route",) * 3
        ]  # fmt: skip
    registry.dispose()


def test_a_database_that_is_away_and_a_folder_that_is_none_end_in_a_sentence(tmp_path: Path) -> None:
    away = osteon_process(
        "upkeep", "--data", str(tmp_path), OSTEON_DATABASE_URL="postgresql+psycopg://u:geheim@127.0.0.1:1/x"
    )
    assert away.returncode == 1
    assert "the database cannot be used" in away.stderr and "OSTEON_DATABASE_URL" in away.stderr
    assert "geheim" not in away.stderr and "Traceback" not in away.stderr
    (tmp_path / "file").touch()
    no_folder = osteon_process("upkeep", "--data", str(tmp_path / "file"))
    assert no_folder.returncode == 1
    assert f"{tmp_path / 'file'} cannot be used" in no_folder.stderr


@pytest.mark.parametrize("kind", [WeightsError, DeviceError])
def test_weights_and_devices_that_cannot_be_used_end_in_their_sentence(
    kind: type[Exception], osteon: Osteon, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise kind("x.safetensors: not what its card says; install it again")

    monkeypatch.setattr("pipelines.thorax.evaluate.evaluate", broken)
    done = osteon("evaluate", "thorax", "--count", "2")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.strip().endswith("osteon: x.safetensors: not what its card says; install it again")


@pytest.mark.parametrize("command", [("evaluate", "thorax", "--count", "2"), ("run", "thorax", ".", "--out", "out")])
def test_a_folder_without_the_pipelines_weights_is_refused_instead_of_measuring_the_shipped_ones(
    command: tuple[str, ...], osteon: Osteon, tmp_path: Path
) -> None:
    done = osteon(*command, "--weights", str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert "no weights of thorax are in this folder (it holds no model card)" in done.stderr
    for path in (REPOSITORY / "pipelines/lumbar/weights").glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert "it holds lumbar-coarse, lumbar-fine, lumbar-ribs" in osteon(*command, "--weights", str(tmp_path)).stderr
