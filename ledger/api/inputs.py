"""What a request that changes something brings: a JSON body, and the call's name."""

from typing import TypeVar

import orjson
from aiohttp import web
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ledger.api.models import Shape
from ledger.errors import InvalidRequest, UnsupportedMediaType

IDEMPOTENCY_KEY_CHARACTERS_MAX = 255

Input = TypeVar("Input", bound=Shape)


async def read_input(
    request: web.Request, shape: type[Input], invalid: type[InvalidRequest]
) -> Input:
    """The body, as the model has it.

    Raises:
        UnsupportedMediaType, InvalidRequest: it is no JSON.
        ``invalid``: the model does not allow it.
    """
    if request.content_type != "application/json":
        raise UnsupportedMediaType("send application/json")
    try:
        return shape.model_validate(orjson.loads(await request.read()))
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"the body is not JSON: {error}") from None
    except ValidationError as error:
        raise invalid(_explained(error)) from None


def idempotency_key(request: web.Request) -> str | None:
    """What the caller names the call, for ever; None where it is not named.

    Raises:
        InvalidRequest: it cannot be kept.
    """
    given = request.headers.get("Idempotency-Key")
    if given is None:
        return None
    if not 0 < len(given) <= IDEMPOTENCY_KEY_CHARACTERS_MAX or not given.isprintable():
        raise InvalidRequest(
            f"Idempotency-Key must have 1 to {IDEMPOTENCY_KEY_CHARACTERS_MAX} "
            "printable characters"
        )
    return given


def _explained(error: ValidationError) -> str:
    return "; ".join(
        _told(problem)
        for problem in error.errors(
            include_input=False, include_url=False, include_context=False
        )
    )


def _told(problem: ErrorDetails) -> str:
    """One problem, in words of the interface and not of the library."""
    if problem["type"] == "model_type":
        return "the body must be a JSON object"
    place = ".".join(map(str, problem["loc"])) or "body"
    return f"{place}: {problem['msg'].removeprefix('Value error, ')}"
