"""Every route answers as its OpenAPI says, whatever it is asked: no failure of the service, nothing undocumented.

By hand with more: `PARITYGATE_EXAMPLES=200 pytest tests/harness/service/test_schema.py`.
"""

import os
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from fastapi.testclient import TestClient
from schemathesis import checks

from harness.report import synthetic
from harness.service.conftest import bearer
from harness.service.sending import Sender
from paritygate.service.app import create_app
from paritygate.service.config import ServiceConfig
from paritygate.service.folders import Folders

EXAMPLES = int(os.environ.get("PARITYGATE_EXAMPLES", "3"))
CHECKS = (
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, dict[str, str]]]:
    """On SQLite, with a project and a run, so that not everything is a 404."""
    folder = tmp_path_factory.mktemp("schema")
    config = ServiceConfig.beside(folder / "data", folder / "runs", folder / "golden", "", "nobody", ("testserver",))
    Folders(config).create("llama")
    app = create_app(config)
    with TestClient(app) as client:
        headers = bearer(app, "admin")
        Sender(client, headers).send(
            synthetic.write_run(folder / "sent" / "20260102T030405Z-tiny-abcd", layers=1).folder
        )
        yield app, headers


def test_no_answer_is_a_failure_or_undocumented(service: tuple[Any, dict[str, str]]) -> None:
    app, headers = service
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", app)
    wrong = []
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path.endswith("/events"):  # a stream, which ends when its reader goes
            continue

        @hypothesis.given(case=operation.as_strategy())
        @hypothesis.settings(
            max_examples=EXAMPLES,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        def ask(case: Any) -> None:
            given = case.path_parameters or {}
            if "project" in given and len(str(given)) % 2:  # half of them in a project that is there
                case.path_parameters = {**given, "project": "llama"}
            case.call_and_validate(headers=headers, checks=CHECKS)

        try:
            ask()
        except Exception as reason:
            wrong.append(f"{operation.method.upper()} {operation.path}: {reason}")
    assert not wrong, "\n\n".join(wrong)
