"""After an erasure nothing that we keep yields the number or what it said."""

import base64
import re
import subprocess
from pathlib import Path
from typing import Final
from urllib.parse import quote

import aiohttp
import asyncpg
from builders import ACCOUNT_SID, SENDER, bearer, signed, text_form
from e2e.processes import (
    TWILIO_TIMEOUT,
    Service,
    command_line,
    eventually,
    get,
    new_folder,
    post,
    running,
)

from ledger.store.programs import wheel_bin_dir

MARKED: Final = "+14155557391"
OTHER: Final = "+14155550142"
WORDS: Final = "please stop texting me zanzibar"
TELLING: Final = (re.compile("4155557391"), re.compile("zanzibar", re.IGNORECASE))
PATH_OF_MARKED: Final = f"/PhoneNumbers/{quote(MARKED)}"


async def test_nothing_that_we_keep_yields_an_erased_number_or_its_words() -> None:
    """Not a table, dump, log or metric does; and the number still answers out."""
    with new_folder() as folder, running(folder) as service:
        await service.ready()
        await speak(service)
        await caught_up(service)
        await run_in(service, "ANALYZE")
        dump = folder / "before.sql"
        assert is_found(dump_of(service, dump)), "the search can find it"
        erased = command_line(
            service.environment, "erase", MARKED, "--reason", "case 7", "--json"
        )
        assert erased.returncode == 0, erased.stderr
        status, body = await get(service.url, PATH_OF_MARKED, **bearer())
        assert (status, '"status":"out"' in body, '"erased":true' in body) == (
            *(200, True, True),
        )
        await caught_up(service)
        await run_in(service, "VACUUM")
        assert not is_found(dump_of(service, folder / "after.sql"))
        assert not is_found(await tables_of(service))
        _, metrics = await get(service.url, "/metrics")
        assert not is_found(metrics)
        # VACUUM frees what was in a page and does not overwrite it.
        await run_in(service, "VACUUM FULL")
        assert service.stop() == 0
        logs = [path.read_text(errors="replace") for path in folder.glob("*.log")]
        assert len(logs) >= 2
        assert not any(map(is_found, logs))
        assert not is_in_data_files(folder)


async def speak(service: Service) -> None:
    """Texts and calls of the marked number, good and bad, and of another."""
    async with aiohttp.ClientSession(timeout=TWILIO_TIMEOUT) as session:
        await report(session, service)
        for body in ("START", WORDS, "an ordinary word, zanzibar"):
            form = text_form(body, From=MARKED, ProfileName="Zanzibar")
            assert (await post(session, service.url, form))[0] == 200
        form = text_form("STOP", From=MARKED)
        assert (await post(session, service.url, form | {"Body": "START"}))[0] == 200
        assert (await post(session, service.url, text_form(From=OTHER)))[0] == 200
        consent = {"status": "out", "evidence": {"note": "zanzibar"}}
        for key in (MARKED, f"form {MARKED}"):
            headers = bearer() | {"Idempotency-Key": key}
            url = service.url + PATH_OF_MARKED
            async with session.put(url, json=consent, headers=headers) as answer:
                assert answer.status in {200, 201}
        bad = {"status": "zanzibar", "evidence": {"number": MARKED}}
        async with session.put(url, json=bad, headers=bearer()) as answer:
            assert answer.status == 422
        for path in (f"{PATH_OF_MARKED}/zanzibar", f"/zanzibar/{MARKED}"):
            assert (await get(service.url, path, **bearer()))[0] == 404
        unsigned = text_form(WORDS, From=MARKED)
        async with session.post(f"{service.url}/optInStatus", data=unsigned) as answer:
            assert answer.status == 403


async def report(session: aiohttp.ClientSession, service: Service) -> None:
    """Twilio says what became of a text to the marked number, whose SID tells."""
    path = "/twilio/message-status"
    form = {
        "AccountSid": ACCOUNT_SID,
        "MessageSid": "SMzanzibar",
        "MessageStatus": "failed",
        "ErrorCode": "21610",
        "To": MARKED,
        "From": SENDER,
    }
    headers = signed(form, path=path)
    async with session.post(service.url + path, data=form, headers=headers) as answer:
        assert answer.status == 204


async def caught_up(service: Service) -> None:
    """Every projection has seen the erasure."""
    connection = await asyncpg.connect(service.dsn())
    behind = (
        "SELECT count(*) FROM projections AS p, ledger_position AS l "
        "WHERE p.position < l.position"
    )

    async def is_up() -> bool:
        return bool(await connection.fetchval(behind) == 0)

    await eventually(is_up)
    await connection.close()


async def run_in(service: Service, statement: str) -> None:
    """As an operator does with psql."""
    connection = await asyncpg.connect(service.dsn())
    await connection.execute(statement)
    await connection.close()


async def tables_of(service: Service) -> str:
    """Every row of every table, and what the planner has sampled, as text."""
    connection = await asyncpg.connect(service.dsn())
    names = await connection.fetch(
        "SELECT quote_ident(relname) AS name FROM pg_class "
        "WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace "
        "UNION ALL SELECT 'pg_stats'"
    )
    select = "SELECT t::text FROM {} AS t"
    rows = [
        str(row[0])
        for (name,) in names
        for row in await connection.fetch(select.format(name))
    ]
    await connection.close()
    return "\n".join(rows)


def dump_of(service: Service, path: Path) -> str:
    """What pg_dump writes."""
    program = [str(wheel_bin_dir() / "pg_dump"), "--file", str(path), service.dsn()]
    subprocess.run(program, check=True, timeout=60)
    return path.read_text()


def is_found(text: str) -> bool:
    """Whether it tells the number or the words: plain, as bytea's hex, as base64."""
    return any(pattern.search(shown) for pattern in TELLING for shown in readings(text))


def readings(text: str) -> list[str]:
    """The text, and whatever in it is encoded."""
    hexes = re.findall(r"\\\\?x((?:[0-9a-f]{2}){8,})", text)
    decoded = [bytes.fromhex(found).decode("latin-1") for found in hexes]
    shown = [text, *decoded]
    boxes = [b for each in shown for b in re.findall(r"[A-Za-z0-9+/]{16,}={0,2}", each)]
    return shown + [
        base64.b64decode(box + "=" * (-len(box) % 4)).decode("latin-1")
        for box in boxes
        if len(box.rstrip("=")) % 4 != 1
    ]


def is_in_data_files(folder: Path) -> bool:
    """Whether the files of the tables, of a database that has stopped, hold either."""
    files = [path for path in (folder / "postgres/base").rglob("*") if path.is_file()]
    assert len(files) > 100
    contents = [path.read_bytes().lower() for path in files]
    return any(MARKED[1:].encode() in c or b"zanzibar" in c for c in contents)
