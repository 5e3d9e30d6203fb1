"""A stand-in for REDCap's API: one project, its records exported and imported."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web
from aiohttp.test_utils import TestServer

TOKEN: Final = "0123456789ABCDEF0123456789ABCDEF"
_TEST: Final = re.compile(r'(?:\[(\w+)\])?\[(\w+)\] = "([^"]*)"')

Row = dict[str, str]


class RedCap:
    """Rows by record and event, as a flat export has them."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.url = ""
        self.is_down = False

    def values(self, field: str) -> list[str]:
        """What is in a field, in the order of the rows."""
        return [row.get(field, "") for row in self.rows]

    async def take(self, request: web.Request) -> web.Response:
        """One call of the API, with everything in the form."""
        form = {name: str(value) for name, value in (await request.post()).items()}
        if self.is_down:
            return web.Response(status=500)
        if form["token"] != TOKEN or form["content"] != "record":
            return web.json_response({"error": "no permission"}, status=403)
        assert (form["format"], form["type"]) == ("json", "flat")
        if form["action"] == "import":
            return self._import(form)
        return self._export(form)

    def _export(self, form: Row) -> web.Response:
        tests = _TEST.findall(form["filterLogic"])
        assert form["filterLogic"].count(" or ") == len(tests) - 1
        wanted = [value for name, value in form.items() if name.startswith("fields[")]
        found = [
            {name: row.get(name, "") for name in wanted}
            for row in self.rows
            if any(_is_met(row, *test) for test in tests)
        ]
        return web.json_response(found)

    def _import(self, form: Row) -> web.Response:
        given = json.loads(form["data"])
        for new in given:
            place = (new["record_id"], new.get("redcap_event_name"))
            [row] = [
                row
                for row in self.rows
                if (row["record_id"], row.get("redcap_event_name")) == place
            ]
            keeps_empty = form["overwriteBehavior"] == "overwrite"
            row |= {name: value for name, value in new.items() if value or keeps_empty}
        return web.json_response({"count": len(given)})


def _is_met(row: Row, event: str, field: str, value: str) -> bool:
    is_there = not event or row["redcap_event_name"] == event
    return is_there and row.get(field) == value


@asynccontextmanager
async def redcap() -> AsyncIterator[RedCap]:
    """One that listens."""
    project = RedCap()
    app = web.Application()
    app.router.add_post("/api/", project.take)
    async with TestServer(app) as server:
        project.url = str(server.make_url("/api/"))
        yield project
