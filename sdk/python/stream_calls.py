"""Follows calls as they happen.

Written by hand: the generator makes functions that wait for the end of an answer, and this one has none.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from ... import errors
from ...client import AuthenticatedClient

_PATH = "/api/v1/sse/calls/stream"
# The server sends a comment every 30 seconds at the latest, unless live.ping_interval says otherwise.
_TIMEOUT = httpx.Timeout(10.0, read=75.0)


@dataclass(frozen=True)
class StreamMessage:
    """One message: an event of a call, which has an id, or a message about the stream itself."""

    type: str
    id: int | None
    data: dict[str, Any]
    """The whole message."""


def sync(
    *,
    client: AuthenticatedClient,
    workflow: str | None = None,
    types: list[str] | None = None,
    since: int | None = None,
) -> Iterator[StreamMessage]:
    """Gives messages until the connection is lost (`httpx.TransportError`) or the server goes down.

    Args:
        workflow: The slug of the only workflow whose calls are told of.
        types: The only types of events that are told of, such as `call.ended`.
        since: The id of the last event that was seen: what came after it comes first.

    Raises:
        errors.UnexpectedStatus: If the server refuses the request; its content is the problem document.
    """
    given = {"workflow": workflow, "types": ",".join(types) if types else None, "since": since}
    params = {name: str(value) for name, value in given.items() if value is not None}
    with client.get_httpx_client().stream("GET", _PATH, params=params, timeout=_TIMEOUT) as response:
        if response.status_code != 200:
            raise errors.UnexpectedStatus(response.status_code, response.read())
        for line in response.iter_lines():
            if line.startswith("data:"):
                data = json.loads(line.removeprefix("data:"))
                yield StreamMessage(data["type"], data.get("id"), data)
