"""What can go wrong between us and Twilio's REST API, one answer each.

A fault takes the place of an answer. Add one here, and every table of faults has it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from twilio_api.documents import error

Fault = Callable[[web.Request], Awaitable[web.StreamResponse]]

HTML: Final = "<html><body>Bad gateway</body></html>"


async def busy(_: web.Request) -> web.Response:
    """More requests at once than the account may have."""
    return error(429, 20429, **{"Retry-After": "2"})


async def busy_for_long(_: web.Request) -> web.Response:
    """The same, and it will last."""
    return error(429, 20429, **{"Retry-After": "3600"})


async def down(_: web.Request) -> web.Response:
    """Twilio's own fault, with a document."""
    return error(500, 20500)


async def gateway(_: web.Request) -> web.Response:
    """Something in between answers, and not in JSON."""
    return web.Response(status=503, text=HTML, content_type="text/html")


async def portal(_: web.Request) -> web.Response:
    """Something in between answers 200, and not in JSON."""
    return web.Response(text=HTML, content_type="text/html")


async def array(_: web.Request) -> web.Response:
    """JSON, and nothing that is documented."""
    return web.json_response([])


async def empty_object(_: web.Request) -> web.Response:
    """A JSON object, and nothing that is documented."""
    return web.json_response({})


async def slow(_: web.Request) -> web.Response:
    """No answer at all, for as long as anybody waits."""
    await asyncio.Event().wait()
    raise AssertionError


async def cut(request: web.Request) -> web.StreamResponse:
    """Half of an answer, and then the connection is gone."""
    answer = web.StreamResponse(headers={"Content-Length": "1000"})
    answer.content_type = "application/json"
    await answer.prepare(request)
    await answer.write(b'{"sid": "AC')
    assert request.transport is not None
    request.transport.abort()
    return answer


async def gone(request: web.Request) -> web.Response:
    """The connection is gone before there is an answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def suspended(_: web.Request) -> web.Response:
    """The account may do nothing."""
    return error(403, 20005)


async def refused(_: web.Request) -> web.Response:
    """A field is not as it should be; the message quotes a number, as Twilio's do."""
    return error(400, 21211, "The 'To' number +14155550100 is not a valid number")


async def problem(_: web.Request) -> web.Response:
    """The other form of error documents, RFC 9457."""
    document = {"type": "x", "title": "no", "status": 400, "code": 20001}
    return web.json_response(
        document, status=400, content_type="application/problem+json"
    )


async def none(request: web.Request) -> web.StreamResponse:
    """No fault: the answer that there is."""
    answer: web.StreamResponse = await request.match_info.handler(request)
    return answer
