"""The least that aiohttp can do: one constant answer, whatever is asked.

Run by gunicorn with the service's kind of workers; what the reads are measured against.
"""

import os
from pathlib import Path

from aiohttp import web


async def make_app() -> web.Application:
    """An application with one handler and no middleware."""
    # Once, before anything is served.
    body = Path(os.environ["BENCH_CONSTANT_BODY"]).read_bytes()  # noqa: ASYNC240

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    app = web.Application()
    app.router.add_get("/", answer)
    app.router.add_get("/PhoneNumbers/", answer)
    app.router.add_get("/PhoneNumbers/{number}", answer)
    return app
