"""``POST /PhoneNumbers/check``: may I text each of these numbers?

Understands, reads and answers; which status holds is the domain's to say. The subtle
part is that the bytes of an answer are made before it is recorded, and given after: so
whoever has an answer has the receipt of exactly these bytes.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson
from aiohttp import hdrs, web
from pydantic import JsonValue

from ledger.api.addresses import single_parameters
from ledger.api.check_input import PARAMETERS, CheckRequest, parse_csv, parse_json
from ledger.api.check_reader import CheckReader, Said
from ledger.api.formats import CSV, JSON, csv_rows, negotiate
from ledger.api.keys import READ, Keys
from ledger.api.read_model import ReadModel
from ledger.domain.ids import PhoneNumber, Position
from ledger.errors import InvalidPhoneNumber, UnsupportedMediaType
from ledger.given_numbers import as_it_came, understood
from ledger.receipts import Checked, Digest, Receipt, keep_receipt, new_receipt
from ledger.settings import Settings
from ledger.store.event_store import EventStore

_COLUMNS: Final = (
    "given",
    "phoneNumber",
    "status",
    "position",
    "since",
    "error",
    "erased",
    "readPosition",
)
_RECEIPT_COLUMNS: Final = ("receipt", "salt")
_AT_ONCE: Final = 200
"""The numbers that are worked on before others have their turn."""

Result = dict[str, Any]


class Item(NamedTuple):
    """One number of a list."""

    given: JsonValue
    number: PhoneNumber | None
    """By which it is looked up; None where there is nothing to look up."""
    is_e164: bool = True


class ChecksApi:
    """Answers lists."""

    def __init__(
        self,
        keys: Keys,
        reader: CheckReader,
        read_model: ReadModel,
        store: EventStore,
        settings: Settings,
    ) -> None:
        self._keys = keys
        self._reader = reader
        self._read_model = read_model
        self._store = store
        self._body_bytes_max = settings.check_body_bytes_max

    def routes(self) -> list[web.RouteDef]:
        """The check."""
        return [web.post("/PhoneNumbers/check", self.check)]

    async def check(self, request: web.Request) -> web.Response:
        """What each number of the list in the body says; all at one position.

        Raises:
            InvalidRequest, NoNumberColumn, TooManyNumbers, UnknownRegion, InvalidQuery:
                what to change. A number that is none is not fatal.
            InvalidMoment, FutureMoment, UnknownTimeZone: there is no such time yet.
            NotYetProjected: the table did not reach minPosition in time.
            StoreUnavailable, TryAgain: it cannot be read, or recorded, now.
        """
        principal = await self._keys.require(request, READ)
        content_type = negotiate(request.headers.get(hdrs.ACCEPT), (JSON, CSV))
        body, asked = await self._read(request)
        if asked.min_position is not None:
            await self._read_model.wait_for(
                asked.min_position, asked.question.projection
            )
        items = await _items(asked)
        numbers = [item.number for item in items if item.number is not None]
        position, said = await self._reader.read(numbers, asked.question)
        results = await _results(items, said)
        receipt = new_receipt() if asked.is_recorded else None
        written = _written(content_type, asked, position, results, receipt)
        if receipt is not None:
            checked = Checked(
                sender=asked.question.sender,
                as_of=asked.question.as_of,
                known_at=asked.question.known_at,
                region=asked.region,
                read_position=position,
                numbers=len(items),
                actor=f"key:{principal.name}",
            )
            await self._keep(receipt, checked, body, written)
        return web.Response(
            body=written,
            content_type=content_type,
            charset="utf-8" if content_type == CSV else None,
            headers={hdrs.VARY: hdrs.ACCEPT},
        )

    async def _read(self, request: web.Request) -> tuple[bytes, CheckRequest]:
        """The body, which may be larger than those of other routes."""
        larger = request.clone(client_max_size=self._body_bytes_max)
        match request.content_type:
            case "application/json":
                single_parameters(request, ())
                body = await larger.read()
                return body, parse_json(body)
            case "text/csv":
                parameters = single_parameters(request, PARAMETERS)
                body = await larger.read()
                return body, parse_csv(body, parameters)
            case _:
                raise UnsupportedMediaType("send application/json or text/csv")

    async def _keep(
        self, receipt: Receipt, checked: Checked, body: bytes, written: bytes
    ) -> None:
        """From here on the receipt is durable, or there is no answer."""
        request, answer = Digest(receipt.salt), Digest()
        request.update(body)
        answer.update(written)
        await keep_receipt(
            self._store, receipt, checked, request=request, answer=answer
        )


def item_of(given: JsonValue, region: str | None) -> Item:
    """One number of a list, understood as far as it can be."""
    if not isinstance(given, str):
        return Item(given, None, is_e164=False)
    number = understood(given, region)
    if number is None:
        return Item(given, as_it_came(given) or None, is_e164=False)
    return Item(given, number)


def result_of(item: Item, said: Mapping[PhoneNumber, Said]) -> Result:
    """What is answered of one number.

    What is no number may be the address of somebody who was recorded all the same, and
    only if it is not is it malformed.
    """
    found = said[item.number] if item.number is not None else None
    if found is None or not (item.is_e164 or found.is_known):
        return {
            "phoneNumber": None,
            "given": item.given,
            "status": None,
            "position": None,
            "since": None,
            "error": InvalidPhoneNumber.code,
        }
    result: Result = {
        "phoneNumber": item.number,
        "given": item.given,
        "status": found.status,
        "position": found.position,
        "since": found.since,
    }
    if found.is_erased:
        result["erased"] = True
    return result


async def _items(asked: CheckRequest) -> list[Item]:
    items: list[Item] = []
    for chunk in _chunks(asked.given):
        items += [item_of(given, asked.region) for given in chunk]
        await asyncio.sleep(0)
    return items


async def _results(
    items: Sequence[Item], said: Mapping[PhoneNumber, Said]
) -> list[Result]:
    results: list[Result] = []
    for chunk in _chunks(items):
        results += [result_of(item, said) for item in chunk]
        await asyncio.sleep(0)
    return results


def _chunks(whole: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (whole[i : i + _AT_ONCE] for i in range(0, len(whole), _AT_ONCE))


def _written(
    content_type: str,
    asked: CheckRequest,
    position: Position,
    results: list[Result],
    receipt: Receipt | None,
) -> bytes:
    if content_type == CSV:
        return _as_csv(position, results, receipt)
    question = asked.question
    answer: Result = {
        "position": position,
        "asOf": question.as_of,
        "knownAt": question.known_at,
        "sender": question.sender,
        "results": results,
    }
    if receipt is not None:
        answer["receipt"] = {"id": str(receipt.id), "salt": receipt.salt}
    return orjson.dumps(answer, option=orjson.OPT_UTC_Z)


def _as_csv(
    position: Position, results: list[Result], receipt: Receipt | None
) -> bytes:
    """A row a number; the receipt, which is one for all, stands in the first."""
    columns: tuple[str, ...] = _COLUMNS
    key: Result = {}
    if receipt is not None:
        columns += _RECEIPT_COLUMNS
        key = {"receipt": str(receipt.id), "salt": receipt.salt}
    empty: Result = {**dict.fromkeys(columns), "readPosition": position}
    rows = ({**empty, **result} for result in results)
    shown = ({**row, **key} if i == 0 else row for i, row in enumerate(rows))
    return b"".join(csv_rows(columns, shown))
