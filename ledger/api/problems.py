"""Errors as problem documents (RFC 9457), each with a stable code.

The one place where an error gets an HTTP status. Never shows an internal message of an
error that nobody raised on purpose, nor what the database and the network say, which is
where they are: that is logged under the request's id.
"""

import itertools
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from ledger import errors
from ledger.api.addresses import route_of
from ledger.api.answers import to_json
from ledger.api.models import HistoryEvent, Problem
from ledger.observations import observe_request

log = logging.getLogger(__name__)
access = logging.getLogger("ledger.access")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

STATUS: Final[dict[type[errors.LedgerError], int]] = {
    errors.InvalidRequest: 400,
    errors.InvalidConsent: 422,
    errors.InvalidMessage: 422,
    errors.UnusableText: 422,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.InvalidSignature: 403,
    errors.NotFound: 404,
    errors.MethodNotAllowed: 405,
    errors.NotAcceptable: 406,
    errors.AlreadyExists: 409,
    errors.OnHold: 409,
    errors.NotAllowed: 409,
    errors.PushRunning: 409,
    errors.RebuildRunning: 409,
    errors.RebuildBlocked: 409,
    errors.RebuildCancelled: 409,
    errors.RebuildStuck: 409,
    errors.RebuildUnsound: 409,
    errors.PreconditionFailed: 412,
    errors.BodyTooLarge: 413,
    errors.UnsupportedMediaType: 415,
    errors.IdempotencyKeyReused: 422,
    errors.TwilioRefused: 502,
    errors.MessageFailed: 502,
    errors.TryAgain: 503,
    # Another process may know it, so whoever asks is to try again: Twilio too.
    errors.UnknownEvent: 503,
    errors.LedgerError: 500,
}
"""A class has its own status, or its nearest base's."""

_OF_HTTP: Final[dict[int, type[errors.LedgerError]]] = {
    404: errors.NotFound,
    405: errors.MethodNotAllowed,
    413: errors.BodyTooLarge,
}
"""What aiohttp itself refuses; any other is an invalid request."""
# With a letter: digits alone may be a phone number, and it is logged.
_REQUEST_ID = re.compile(r"(?=[0-9_-]*[A-Za-z])[A-Za-z0-9_-]{1,128}", re.ASCII)
_PROCESS = secrets.token_hex(4)
_numbers = itertools.count(1)


def status_of(kind: type[errors.LedgerError]) -> int:
    """The HTTP status of an error class."""
    return next(STATUS[base] for base in kind.__mro__ if base in STATUS)


@web.middleware
async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Name, time, count and, where it failed, explain a request."""
    started = time.perf_counter()
    request_id = request_id_of(request.headers.get("X-Request-Id"))
    try:
        response = await handler(request)
    except Exception as error:  # noqa: BLE001 - it is logged there
        response = explain(error, request_id)
    if not response.prepared:
        response.headers["X-Request-Id"] = request_id
    record(route_of(request), request.method, response.status, request_id, started)
    return response


def request_id_of(given: str | None) -> str:
    """The caller's own, if it is one; it is logged, so it may not be just anything."""
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    return f"{_PROCESS}-{next(_numbers):x}"


def explain(error: Exception, request_id: str) -> web.Response:
    """What whoever asked is told of an error."""
    if isinstance(error, errors.StoreUnavailable):
        extra = {"request_id": request_id, "error": str(error)}
        log.info("store_unavailable", extra=extra)
    if isinstance(error, errors.LedgerError):
        return _of_error(error)
    if isinstance(error, web.HTTPException):
        return _of_http(error)
    if isinstance(error, HttpProcessingError | web.RequestPayloadError):
        kind = errors.InvalidRequest
        return problem(400, kind.code, kind.title(), "the body cannot be read")
    log.error("request_failed", extra={"request_id": request_id}, exc_info=error)
    return problem(500, "internal_error", "An error that we did not expect")


def record(
    route: str, method: str, status: int, request_id: str, started: float
) -> None:
    """Count an answered request, and log it."""
    observe_request(route, method, status, started)
    level = logging.DEBUG if status < HTTPStatus.BAD_REQUEST else logging.INFO
    if access.isEnabledFor(level):
        fields = {
            "request_id": request_id,
            "method": method,
            "route": route,
            "status": status,
            "seconds": round(time.perf_counter() - started, 6),
        }
        access.log(level, "request", extra=fields)


def problem(
    status: int,
    code: str,
    title: str,
    detail: str | None = None,
    *,
    decided_by: HistoryEvent | None = None,
) -> web.Response:
    """An ``application/problem+json`` answer."""
    document = Problem(
        type="about:blank",
        title=title,
        status=status,
        code=code,
        detail=detail or None,
        decided_by=decided_by,
    )
    return web.Response(
        status=status,
        body=to_json(document, exclude_none=True),
        content_type="application/problem+json",
    )


def document_of(error: errors.LedgerError) -> bytes:
    """The document alone, for what has begun to answer already."""
    document = Problem(
        type="about:blank",
        title=error.title(),
        status=status_of(type(error)),
        code=error.code,
        detail=_detail(error),
    )
    return to_json(document, exclude_none=True)


def _detail(error: errors.LedgerError) -> str | None:
    """What it says, if that is ours."""
    is_ours = not isinstance(error, errors.StoreUnavailable) or error.__cause__ is None
    return str(error) or None if is_ours else None


def _of_error(error: errors.LedgerError) -> web.Response:
    status = status_of(type(error))
    response = problem(status, error.code, error.title(), _detail(error))
    if isinstance(error, errors.TryAgain | errors.UnknownEvent):
        response.headers["Retry-After"] = str(error.retry_after_seconds)
    if isinstance(error, errors.Unauthenticated):
        # One header each: some browsers do not look for a second scheme within one.
        for scheme in ("Basic", "Bearer"):
            response.headers.add("WWW-Authenticate", f'{scheme} realm="consent ledger"')
    return response


def _of_http(error: web.HTTPException) -> web.Response:
    if error.status < HTTPStatus.BAD_REQUEST:
        return error
    kind = _OF_HTTP.get(error.status, errors.InvalidRequest)
    response = problem(error.status, kind.code, kind.title(), error.reason)
    if "Allow" in error.headers:
        response.headers["Allow"] = error.headers["Allow"]
    return response
