"""Uses the generated client against a running server. What `assert_type` is told is checked by mypy."""

import datetime
import os
from typing import Any, Literal
from uuid import UUID

from typing_extensions import assert_type

from callscope_client import AuthenticatedClient, errors
from callscope_client.api.analytics import (
    get_active_calls,
    get_call_volume,
    get_provider_latency,
    get_summary,
    get_workflow_stats,
    list_errors,
)
from callscope_client.api.health import get_readiness
from callscope_client.api.ingestion import ingest_calls, put_call
from callscope_client.api.live import stream_calls
from callscope_client.models import (
    ActiveCallsResponse,
    CallRecord,
    CallState,
    CallVolumeResponse,
    ErrorDetails,
    ErrorLogResponse,
    ErrorRecord,
    HealthResponse,
    IngestResult,
    Problem,
    ProviderRecord,
    PutResult,
    SummaryResponse,
    WorkflowRecord,
)

URL, KEY = os.environ["CALLSCOPE_URL"], os.environ["CALLSCOPE_KEY"]
FIRST, SECOND, THIRD, LIVE = (UUID(f"31c02e4f-12e0-4af0-869b-aab222503a0{end}") for end in "abcd")


def instant(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)


AFTER, BEFORE = instant("2025-06-01T00:00:00+00:00"), instant("2025-06-02T00:00:00+00:00")


def connect(key: str) -> AuthenticatedClient:
    return AuthenticatedClient(base_url=URL, token=key)


def writes(client: AuthenticatedClient) -> None:
    state = CallState(
        status="completed",
        started_at=instant("2025-06-01T10:30:00+00:00"),
        ended_at=instant("2025-06-01T10:33:00+00:00"),
        workflow=WorkflowRecord(slug="daily-call", name="Daily Health Check"),
        total_tokens=1500,
        providers=[ProviderRecord(provider_type="stt", provider_name="deepgram", latencies_ms=[100.0, 200.0, None])],
        errors=[
            ErrorRecord(
                level="error",
                message="Timeout",
                service="stt",
                timestamp=instant("2025-06-01T10:31:00+00:00"),
                details=ErrorDetails.from_dict({"ms": 5}),
            )
        ],
    )
    put = put_call.sync_detailed(FIRST, client=client, body=state)
    assert put.status_code == 201
    assert isinstance(put.parsed, PutResult)
    assert_type(put.parsed.call_id, UUID)
    assert_type(put.parsed.result, Literal["created", "ignored", "replaced"])
    assert (put.parsed.call_id, put.parsed.result, put.parsed.dropped_samples) == (FIRST, "created", 1)

    start = instant("2025-06-01T11:00:00+00:00")
    batch = [
        CallRecord(call_id=SECOND, status="failed", started_at=start, ended_at=start, end_reason="no_answer"),
        CallRecord(call_id=THIRD, status="active", started_at=datetime.datetime.now(datetime.timezone.utc)),
        CallRecord(call_id=THIRD, status="completed", started_at=start),
    ]
    ingested = ingest_calls.sync(client=client, body=batch)
    assert isinstance(ingested, IngestResult)
    assert ingested.accepted == 2
    rejected = [(record.index, record.call_id, record.errors[0].field) for record in ingested.rejected]
    assert rejected == [(2, str(THIRD), "ended_at")]


def reads(client: AuthenticatedClient) -> None:
    summary = get_summary.sync(client=client, started_after=AFTER, started_before=BEFORE)
    assert isinstance(summary, SummaryResponse)
    assert_type(summary.total_calls, int)
    assert_type(summary.success_rate, float | None)
    assert (summary.total_calls, summary.failed_calls, summary.active_calls) == (2, 1, 1)
    assert (summary.success_rate, summary.avg_stt_latency_ms, summary.avg_llm_latency_ms) == (50.0, 150.0, None)

    volume = get_call_volume.sync_detailed(
        client=client, started_after=AFTER, started_before=BEFORE, interval="day", timezone="Asia/Kolkata"
    )
    assert volume.headers["X-Answered-Window"] == "2025-06-01T00:00:00Z/2025-06-02T00:00:00Z"
    assert isinstance(volume.parsed, CallVolumeResponse)
    assert_type(volume.parsed.interval, Literal["day", "hour", "week"])
    assert_type(volume.parsed.data[0].timestamp, datetime.datetime)
    buckets = [(bucket.timestamp, bucket.total) for bucket in volume.parsed.data]
    assert buckets == [(instant("2025-05-31T18:30:00+00:00"), 2), (instant("2025-06-01T18:30:00+00:00"), 0)]

    workflows = get_workflow_stats.sync(client=client, started_after=AFTER, started_before=BEFORE, limit=5)
    assert isinstance(workflows, list)
    assert [(workflow.workflow_slug, workflow.success_rate) for workflow in workflows] == [("daily-call", 100.0)]

    providers = get_provider_latency.sync(client=client, started_after=AFTER, started_before=BEFORE)
    assert isinstance(providers, list)
    assert_type(providers[0].provider_type, Literal["llm", "stt", "tts"])
    assert_type(providers[0].p99_latency_ms, float | None)
    assert [(provider.provider_name, provider.call_count) for provider in providers] == [("deepgram", 1)]

    log = list_errors.sync(
        client=client, started_after=AFTER, started_before=BEFORE, service="stt", level="error", limit=1
    )
    assert isinstance(log, ErrorLogResponse)
    assert log.total == 1
    assert_type(log.items[0].details, ErrorDetails | None)
    assert log.items[0].details is not None and log.items[0].details["ms"] == 5
    assert log.items[0].timestamp == instant("2025-06-01T10:31:00+00:00")

    active = get_active_calls.sync(client=client)
    assert isinstance(active, ActiveCallsResponse) and active.count == 1
    health = get_readiness.sync(client=client)
    assert isinstance(health, HealthResponse) and health.status == "ok"
    assert isinstance(get_summary.sync(client=client, period="7d"), SummaryResponse)


def follows(client: AuthenticatedClient) -> None:
    messages = stream_calls.sync(client=client, workflow="live-call", types=["call.ended"])
    first = next(messages)
    assert_type(first.data["cursor"], Any)
    assert (first.type, first.id) == ("connected", None)
    now = datetime.datetime.now(datetime.timezone.utc)
    state = CallState(status="completed", started_at=now, ended_at=now, workflow=WorkflowRecord(slug="live-call"))
    assert isinstance(put_call.sync(LIVE, client=client, body=state), PutResult)
    event = next(message for message in messages if message.id is not None)
    assert (event.type, event.data["call_id"]) == ("call.ended", str(LIVE))
    try:
        next(stream_calls.sync(client=connect("cs_live_wrong")))
    except errors.UnexpectedStatus as refused:
        assert refused.status_code == 401
    else:
        raise AssertionError("a wrong key is accepted")


def keywords_only() -> None:
    try:
        ProviderRecord("deepgram", "stt")  # type: ignore[call-arg]
    except TypeError:
        return
    raise AssertionError("positional arguments are accepted")


def refusals(client: AuthenticatedClient) -> None:
    invalid = get_workflow_stats.sync(client=client, limit=51)
    assert isinstance(invalid, Problem)
    assert_type(invalid.status, int)
    assert (invalid.status, invalid.code) == (422, "validation_error")
    assert isinstance(invalid.errors, list) and invalid.errors[0].field == "limit"
    refused = get_summary.sync_detailed(client=connect("cs_live_wrong"))
    assert refused.status_code == 401
    assert isinstance(refused.parsed, Problem) and refused.parsed.code == "authentication_error"


if __name__ == "__main__":
    with connect(KEY) as connected:
        writes(connected)
        reads(connected)
        refusals(connected)
        follows(connected)
    keywords_only()
