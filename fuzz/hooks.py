"""What a schema cannot say of our requests: rules between fields. Sound requests are made to follow them."""

import os
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import schemathesis
from schemathesis import Case, GenerationMode, HookContext, SerializationContext

LINES = "application/x-ndjson"
START, END = "2026-01-17T10:30:00Z", "2026-01-17T10:33:00Z"
CALL_ID = "31c02e4f-12e0-4af0-869b-aab222503a09"
NIL = "00000000-0000-0000-0000-000000000000"
OWN_KEYS = os.environ.get("CALLSCOPE_KEYS", "").split()
ZONES = ["UTC", "Europe/Berlin", "Asia/Kolkata", "America/St_Johns", "Pacific/Apia"]


@schemathesis.serializer(LINES)
def as_lines(_: SerializationContext, value: Any) -> bytes:
    """The document has lines as one string."""
    return str(value).encode(errors="surrogatepass")


@schemathesis.hook
def before_call(_: HookContext, case: Case, __: dict[str, Any]) -> None:
    """Mends a request that is of its schema; leaves those alone that are meant to be wrong."""
    path = case.path_parameters or {}
    # Whoever saws off the branch that all sit on learns nothing more.
    if path.get("key_id") and str(path["key_id"]).lower() in OWN_KEYS:
        path["key_id"] = CALL_ID
    if case.meta is not None and case.meta.generation.mode is not GenerationMode.POSITIVE:
        return
    if case.query:
        mend_window(case.query)
        if "timezone" in case.query:
            case.query["timezone"] = ZONES[len(case.query["timezone"]) % len(ZONES)]
    if case.operation.label.startswith("PUT") and isinstance(case.body, dict):
        # It may come from a record that was rejected, and that had none.
        if not is_uuid(path.get("call_id")):
            path["call_id"] = CALL_ID
        mend_record(case.body, path["call_id"])
        # Fields that are made up are sound, unless the request says that they are not.
        if case.query and "strict" in case.query:
            case.query["strict"] = "false"
    # Only a page of the same list gives a cursor.
    if case.query:
        case.query.pop("cursor", None)
    if case.operation.label == "POST /api/v1/analytics/query" and isinstance(case.body, dict):
        mend_question(case.body)
    if case.operation.label == "POST /api/v1/keys" and isinstance(case.body, dict):
        mend_key(case.body)


def mend_key(key: dict[str, Any]) -> None:
    """An end in the future, and a burst beside a rate only."""
    if key.get("expires_at") is not None:
        key["expires_at"] = (datetime.now(timezone.utc) + timedelta(days=1)).isoformat()
    if key.get("requests_per_second") is None:
        key["burst"] = None


def mend_question(question: dict[str, Any]) -> None:
    """Names of the catalogue, and words; no rule of a schema says which may stand together."""
    question["metrics"] = ["total_calls", "p95_turn_latency_ms"][: max(1, len(question.get("metrics", [])) % 3)]
    question["dimensions"] = ["agent", "workflow", "tag.campaign"][: len(question.get("dimensions", []))]
    question["filters"] = [
        {"dimension": "environment", "operator": "is_not", "values": ["test"]} for _ in question.get("filters", [])
    ]
    question["order_by"] = [{"by": "total_calls", "direction": "asc"} for _ in question.get("order_by", [])]
    words = {"period": "7d", "interval": "day", "timezone": "Europe/Berlin", "compare": "previous_week"}
    for name, word in words.items():
        if question.get(name) is not None:
            question[name] = word
    mend_window(question)
    if question.get("started_before") and not question.get("started_after"):
        question["started_before"] = END
    # Its rows are days, and those of three groups at most.
    if question.get("interval") is not None:
        question["limit"] = 10


def is_uuid(text: Any) -> bool:
    try:
        UUID(str(text))
    except ValueError:
        return False
    return True


def mend_window(query: Any) -> None:
    """Bounds in order, and close enough to one another for ten thousand hours; a start without an end is in the past."""
    bounds = [query.get(name) for name in ("started_after", "started_before")]
    if bounds[0] and not bounds[1]:
        query["started_after"] = (datetime.now(timezone.utc) - timedelta(days=30)).strftime("%Y-%m-%dT%H:%M:%SZ")
    if all(bounds) and not is_series(*bounds):
        query["started_after"], query["started_before"] = START, END


def is_series(after: str, before: str) -> bool:
    try:
        seconds = (datetime.fromisoformat(before) - datetime.fromisoformat(after)).total_seconds()
    except (TypeError, ValueError, OverflowError):
        return False
    return 0 < seconds < 9_000 * 3600


def mend_record(record: dict[str, Any], call_id: str) -> None:
    """An end after the start where there must be one, and errors in between; the path's own id."""
    if record.get("call_id") is not None:
        record["call_id"] = call_id
    record["started_at"] = START
    record["ended_at"] = None if record.get("status") == "active" else END
    workflow = record.get("workflow") or {}
    if workflow.get("id") == NIL:
        workflow["id"] = None
    for error in record.get("errors") or []:
        error["timestamp"] = START
