"""The API does what its description says, whatever it is sent: Schemathesis over a real server.

Requests are made up from /api/openapi.json, right and wrong ones; each answer must have a described status, body and
content type, none may be a server error, wrong requests must be refused, and nothing may answer without credentials.
The examples are the same in every run; there are few of them, so that the suite stays quick, and more with
`OSTEON_API_EXAMPLES=200`.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import uvicorn
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import load_all_checks, not_a_server_error
from schemathesis.openapi import from_dict
from schemathesis.specs.openapi import checks

from node.bench.seed import Plan, seed
from node.dashboard.api.description import describe_app
from node.dashboard.app import create_app
from node.loopback import free_port
from node.registry import credentials
from node.registry.database import Registry
from node.registry.migrate import upgrade
from node.registry.roles import Role
from node.settings import load_configuration
from node.settings.load import REPOSITORY_CONFIG
from tests.dashboard.conftest import NOW, TESTER
from tests.fixtures.running_node import write_configuration

EXAMPLES = int(os.environ.get("OSTEON_API_EXAMPLES", "6"))
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
    checks.negative_data_rejection,
    checks.ignored_auth,
]


def _description() -> dict[str, Any]:
    configuration = load_configuration(REPOSITORY_CONFIG, Path("nowhere"), {})
    registry = Registry("sqlite://")
    try:
        return describe_app(create_app(configuration, registry))
    finally:
        registry.dispose()


DESCRIPTION = _description()
OPERATIONS = [(path, method) for path, methods in DESCRIPTION["paths"].items() for method in methods]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A dashboard with a year of work in it, over real HTTP; its address and an admin's token."""
    folder = tmp_path_factory.mktemp("api")
    destination = {"name": "pacs", "host": "127.0.0.1", "port": free_port(), "ae_title": "PACS"}
    # A folder of its own: the API can save rules.
    config = write_configuration(folder / "config", {}, [destination])
    configuration = load_configuration(config, folder, {})
    registry = Registry(configuration.database_url)
    upgrade(registry)
    seed(registry, Plan(instances=400, jobs=400, now=NOW))
    with registry.transaction() as session:
        token = credentials.add_token(session, TESTER, "schemathesis", Role.ADMIN, None, NOW)
    port = free_port()
    running = uvicorn.Server(
        uvicorn.Config(create_app(configuration, registry), port=port, log_config=None, access_log=False)
    )
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not running.started and time.monotonic() < deadline:
        time.sleep(0.02)
    assert running.started
    yield f"http://127.0.0.1:{port}", token
    running.should_exit = True
    thread.join(10)
    registry.dispose()


def test_everything_under_the_api_is_described_with_a_sentence(server: tuple[str, str]) -> None:
    address, token = server
    described = requests.get(
        f"{address}/api/openapi.json", headers={"Authorization": f"Bearer {token}"}, timeout=10
    ).json()
    assert described["paths"].keys() == DESCRIPTION["paths"].keys()
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"] and operation["tags"], (method, path)
            assert all(parameter["description"] for parameter in operation.get("parameters", ()))
            assert {"401", "403", "422"} <= operation["responses"].keys(), (method, path)


@pytest.mark.slow
@pytest.mark.parametrize(("path", "method"), OPERATIONS, ids=[f"{method} {path}" for path, method in OPERATIONS])
def test_the_api_keeps_to_its_description(server: tuple[str, str], path: str, method: str) -> None:
    address, token = server
    load_all_checks()
    operation = from_dict(DESCRIPTION)[path][method]

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def conforms(case: Any) -> None:
        case.call_and_validate(
            base_url=address, headers={"Authorization": f"Bearer {token}"}, checks=CHECKS, timeout=30
        )

    conforms()
