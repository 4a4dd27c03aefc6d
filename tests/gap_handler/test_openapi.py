"""The interface keeps to what its OpenAPI document says, whatever it is asked.

``SCHEMATHESIS_EXAMPLES`` makes the search longer and random.
"""

from __future__ import annotations

import asyncio
import os

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from tests.gap_handler.harness import NOON, SYMBOL, Connection, handler

from exchange_simulator import Simulator
from marketdata.minutes import isoformat
from marketdata.models import MINUTE_MS
from marketdata.settings import DatabaseSettings

pytestmark = pytest.mark.database

EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "40"))
TOKEN = "a token"
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
    ignored_auth,
]

# What a schema cannot say: a symbol that is captured, and minutes that are over.
bodies = st.fixed_dictionaries(
    {
        "symbol": st.sampled_from([SYMBOL, SYMBOL, "NOPEUSDT", "BTC\0"]) | st.text(max_size=70),
        "start": st.integers(-200, 5).map(lambda n: isoformat(NOON + n * MINUTE_MS)),
        "end": st.integers(-200, 5).map(lambda n: isoformat(NOON + n * MINUTE_MS)),
    }
)


def fuzz(base_url: str, token: str, wanted: set[str]) -> None:
    """Ask every operation everything; raises with the request that had an undeclared answer."""
    schema = schemathesis.openapi.from_url(f"{base_url}/openapi.json")
    bearer = {"Authorization": f"Bearer {token}"} if token else {}
    asked = set()
    for result in schema.get_all_operations():
        operation = result.ok()
        asked.add(f"{operation.method.upper()} {operation.path}")
        modes = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
        cases = [operation.as_strategy(generation_mode=mode) for mode in modes]
        if operation.method == "post":
            cases.append(
                bodies.map(lambda body, o=operation: o.Case(body=body, media_type="application/json"))
            )

        @settings(
            max_examples=EXAMPLES,
            derandomize="SCHEMATHESIS_EXAMPLES" not in os.environ,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=st.one_of(cases))
        def conforms(case: schemathesis.Case) -> None:
            case.call_and_validate(headers=bearer, checks=CHECKS)

        conforms()
    assert asked == wanted


@pytest.mark.parametrize("token", ["", TOKEN])
async def test_every_answer_is_one_that_is_declared(
    token: str, database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    wanted = {"POST /backfill", "GET /backfill/{job_id}", "GET /health", "GET /metrics"}
    async with handler(database, simulator.api_url, token=token) as service:
        await asyncio.to_thread(fuzz, str(service.client.base_url).rstrip("/"), token, wanted)
