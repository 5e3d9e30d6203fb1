"""What operators ask for, and this description itself."""

from typing import Final

from pydantic import JsonValue

from ledger.api.keys import READ
from ledger.api.models import Liveness, Readiness
from ledger.api.operations.operation import TEXT, Answer, Operation

_READY_EXAMPLE: Final[JsonValue] = {
    "ready": True,
    "reasons": [],
    "position": 41,
    "projections": [
        {
            "name": "phone_numbers",
            "version": 1,
            "serving": True,
            "position": 41,
            "lagEvents": 0,
            "running": True,
            "stoppedReason": None,
        }
    ],
}
SERVICE: Final = (
    Operation(
        method="get",
        path="/healthz",
        name="readLiveness",
        tag="Operating",
        summary="Whether the process answers",
        roles=None,
        answers=(
            Answer(
                status=200,
                description="It does.",
                models=(Liveness,),
                example={"alive": True},
            ),
        ),
    ),
    Operation(
        method="get",
        path="/readyz",
        name="readReadiness",
        tag="Operating",
        summary="Whether the service can be used, and if not, why",
        roles=None,
        answers=(
            Answer(
                status=200,
                description="It can.",
                models=(Readiness,),
                example=_READY_EXAMPLE,
            ),
            Answer(status=503, description="It cannot.", models=(Readiness,)),
        ),
    ),
    Operation(
        method="get",
        path="/metrics",
        name="readMetrics",
        tag="Operating",
        summary="Counts and times, for Prometheus",
        roles=None,
        answers=(
            Answer(
                status=200,
                description="Of all processes.",
                schema=TEXT,
                media_types=("text/plain",),
            ),
        ),
    ),
    Operation(
        method="get",
        path="/openapi.json",
        name="readOpenApi",
        tag="This description",
        summary="This description, in OpenAPI 3.1",
        roles=READ,
        answers=(
            Answer(status=200, description="The document.", schema={"type": "object"}),
        ),
    ),
    Operation(
        method="get",
        path="/docs",
        name="readDocs",
        tag="This description",
        summary="This description, as a page",
        description="It needs no network. A browser asks for a name, which may be "
        "left out, and a password, which is the key.",
        roles=READ,
        answers=(
            Answer(
                status=200,
                description="The page.",
                schema=TEXT,
                media_types=("text/html",),
            ),
        ),
    ),
    Operation(
        method="get",
        path="/docs/docs.css",
        name="readDocsStyle",
        tag="This description",
        summary="The page's style",
        roles=READ,
        answers=(
            Answer(
                status=200, description="It.", schema=TEXT, media_types=("text/css",)
            ),
        ),
    ),
    Operation(
        method="get",
        path="/docs/docs.js",
        name="readDocsScript",
        tag="This description",
        summary="The page's script",
        roles=READ,
        answers=(
            Answer(
                status=200,
                description="JavaScript.",
                schema=TEXT,
                media_types=("text/javascript",),
            ),
        ),
    ),
)
