"""Answers in JSON, from the models that describe them."""

from collections.abc import Mapping

from aiohttp import web

from ledger.api.models import Shape


def of_model(
    model: Shape, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """A model as JSON: camelCase, without what is not there."""
    return web.Response(
        status=status,
        body=to_json(model),
        content_type="application/json",
        headers=headers,
    )


def to_json(model: Shape, *, exclude_none: bool = False) -> bytes:
    """A model's JSON bytes."""
    serializer = type(model).__pydantic_serializer__
    return serializer.to_json(model, by_alias=True, exclude_none=exclude_none)
