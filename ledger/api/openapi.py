"""``/openapi.json`` and ``/docs``: the API described, from what makes it.

The document is built once from the table in ``ledger.api.operations`` and from the very
models that validate requests and make answers. Never describes by hand what a model,
an error class or a role says already. The page needs no network: it is three files of
ours, and its Content-Security-Policy lets it load nothing else.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from http import HTTPStatus
from importlib.metadata import version
from importlib.resources import files
from itertools import groupby
from typing import Final

import orjson
from aiohttp import web
from pydantic import BaseModel, JsonValue
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema

from ledger import errors
from ledger.api.keys import READ, Keys
from ledger.api.models import Problem
from ledger.api.operations.operation import (
    JSON,
    Answer,
    Body,
    Operation,
    Parameter,
    Schema,
)
from ledger.api.operations.table import OPERATIONS
from ledger.api.problems import status_of

_REF: Final = "#/components/schemas/{model}"
_FAULT: Final = "#/components/responses/Fault"
_INTERNAL_ERROR: Final = "internal_error"
_HEADERS: Final[dict[str, Schema]] = {
    "ETag": {"description": "Changes with the record; a stream has none."},
    "Ledger-Position": {
        "description": "Position at which this consent was recorded, first; of events, "
        "the one that the answer goes up to.",
        "required": True,
    },
    "Link": {"description": '`<...>; rel="next"`, where there is more.'},
    "Location": {"description": "Where the record is.", "required": True},
    "Retry-After": {"description": "Seconds to wait.", "required": True},
    "WWW-Authenticate": {"description": "How to send a key.", "required": True},
    "Vary": {"description": "What the answer depends on.", "required": True},
    "X-Request-Id": {
        "description": "The request's own, or one that we made; logs name it. "
        "A stream has none.",
    },
}
_PROBLEM_HEADERS: Final = {401: ("WWW-Authenticate",), 503: ("Retry-After",)}
_SECURITY: Final[dict[str, Schema]] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "The API key."},
    "basic": {
        "type": "http",
        "scheme": "basic",
        "description": "The API key as password; the name may be left out.",
    },
}
_DESCRIPTION: Final = (
    "What each phone number said about being texted: recorded once, never overwritten, "
    "and readable by position. Times are RFC 3339 in UTC. Errors are problem documents "
    "(RFC 9457) whose `code` is stable."
)
_PAGE_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private, no-cache",
}


class OpenApi:
    """Serves the description to whoever has a key."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._document = _as_json()

    def routes(self) -> list[web.RouteDef]:
        """The document, the page and what the page loads."""
        return [
            web.get("/openapi.json", self.describe),
            web.get("/docs", self.page),
            web.get("/docs/docs.css", self.style),
            web.get("/docs/docs.js", self.script),
        ]

    async def describe(self, request: web.Request) -> web.Response:
        """The OpenAPI document."""
        await self._keys.require(request, READ)
        return web.Response(body=self._document, content_type=JSON)

    async def page(self, request: web.Request) -> web.Response:
        """The page; a browser asks for the key, since the refusal offers Basic."""
        await self._keys.require(request, READ)
        return _static("docs.html", "text/html")

    async def style(self, request: web.Request) -> web.Response:
        """How the page looks."""
        await self._keys.require(request, READ)
        return _static("docs.css", "text/css")

    async def script(self, request: web.Request) -> web.Response:
        """What makes the page from the document."""
        await self._keys.require(request, READ)
        return _static("docs.js", "text/javascript")


def document() -> Schema:
    """The OpenAPI 3.1 document, as JSON has it."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Consent ledger",
            "version": version("consent-ledger"),
            "description": _DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "tags": [{"name": tag} for tag in dict.fromkeys(o.tag for o in OPERATIONS)],
        "paths": _paths(OPERATIONS),
        "components": {
            "schemas": _schemas(OPERATIONS),
            "responses": {"Fault": _fault()},
            "headers": {
                name: {**header, "schema": {"type": "string"}}
                for name, header in _HEADERS.items()
            },
            "securitySchemes": {**_SECURITY},
        },
        "x-problems": [
            {"code": code, "status": status, "title": title}
            for code, (status, title) in sorted(problem_codes().items())
        ],
    }


@cache
def _as_json() -> bytes:
    return orjson.dumps(document())


@cache
def problem_codes() -> dict[str, tuple[int, str]]:
    """Status and explanation of every code that a problem document may have."""
    kinds = {kind.code: kind for kind in _tree(errors.LedgerError)}
    codes = {code: (status_of(kind), kind.title()) for code, kind in kinds.items()}
    return {
        **codes,
        _INTERNAL_ERROR: (500, "An error that we did not expect"),
    }


def _paths(operations: Iterable[Operation]) -> Schema:
    paths: dict[str, Schema] = {}
    for operation in operations:
        item = paths.setdefault(operation.path, {})
        item[operation.method] = _operation(operation)
        if operation.method == "get" and operation.has_head:
            item["head"] = _head(operation)
    return dict(paths)


def _operation(operation: Operation) -> Schema:
    described: Schema = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "security": [{name: []} for name in _SECURITY] if operation.roles else [],
        "responses": {**_responses(operation)},
    }
    if operation.description:
        described["description"] = operation.description
    if operation.roles:
        described["x-roles"] = [*sorted(operation.roles)]
    if operation.parameters:
        described["parameters"] = [_parameter(p) for p in operation.parameters]
    if operation.body:
        content = _request_content(operation.body)
        described["requestBody"] = {"required": True, "content": content}
    return described


def _head(operation: Operation) -> Schema:
    """HEAD is GET without the content; the server makes the one of the other."""
    described = _operation(operation)
    described["operationId"] = f"head{operation.name[0].upper()}{operation.name[1:]}"
    described["summary"] = f"{operation.summary} Headers only."
    described["responses"] = {
        status: {key: value for key, value in answer.items() if key != "content"}
        for status, answer in _responses(operation).items()
    }
    return described


def _parameter(parameter: Parameter) -> Schema:
    described: Schema = {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.required,
        "description": parameter.description,
        "schema": parameter.schema,
    }
    if parameter.example is not None:
        described["example"] = parameter.example
    return described


def _request_content(body: Body) -> Schema:
    content: Schema = {
        kind: {"schema": schema} for kind, schema in body.content.items()
    }
    if body.model is None:
        return content
    return {JSON: {"schema": _ref(body.model), "example": body.example}, **content}


def _responses(operation: Operation) -> dict[str, Schema]:
    responses = {str(a.status): _answer(a) for a in operation.answers}
    refusals = sorted(set(_refusals(operation)), key=lambda e: (status_of(e), e.code))
    for status, kinds in groupby(refusals, status_of):
        codes = [kind.code for kind in kinds]
        responses[str(status)] = _problem(status, codes)
    return {**dict(sorted(responses.items())), "500": {"$ref": _FAULT}}


def _refusals(operation: Operation) -> Iterator[type[errors.LedgerError]]:
    yield from operation.refusals
    if operation.roles is not None:
        yield from (errors.Unauthenticated, errors.StoreUnavailable)
        if operation.roles != READ:
            yield errors.Forbidden
    if operation.body is not None:
        yield from (errors.InvalidRequest, errors.BodyTooLarge)
        yield from (errors.UnsupportedMediaType, errors.StoreUnavailable)
        if operation.body.model is not None:
            yield operation.body.invalid


def _answer(answer: Answer) -> Schema:
    described: Schema = {
        "description": answer.description,
        "headers": _header_refs((*answer.headers, "X-Request-Id")),
    }
    if answer.models or answer.schema:
        described["content"] = _content(answer)
    return described


def _content(answer: Answer) -> Schema:
    contents: Schema = {}
    for media_type in answer.media_types:
        is_json = media_type == JSON
        content: Schema = {"schema": _shape(answer) if is_json else {"type": "string"}}
        if answer.example is not None and (is_json or not answer.models):
            content["example"] = answer.example
        contents[media_type] = content
    return contents


def _shape(answer: Answer) -> Schema:
    if answer.schema is not None:
        return answer.schema
    shapes: list[JsonValue] = [_ref(model) for model in answer.models]
    if answer.can_be_parts:
        shapes.append({"description": "Selected attributes.", "not": _whole(answer)})
    shape: Schema = {"anyOf": shapes} if len(shapes) > 1 else _ref(answer.models[0])
    return {"type": "array", "items": shape} if answer.are_many else shape


def _whole(answer: Answer) -> Schema:
    """Whatever has every attribute of a model must be as the model says."""
    whole: list[JsonValue] = [
        {
            "type": "object",
            "required": [field.alias or name for name, field in fields.items()],
        }
        for fields in (model.model_fields for model in answer.models)
    ]
    return {"anyOf": whole}


def _problem(status: int, codes: Sequence[str]) -> Schema:
    known = problem_codes()
    narrowed: Schema = {
        "properties": {
            "status": {"const": int(status)},
            "code": {"enum": [*codes]},
        }
    }
    schema: Schema = {"allOf": [_ref(Problem), narrowed]}
    return {
        "description": " ".join(f"`{code}`: {known[code][1]}." for code in codes),
        "headers": _header_refs((*_PROBLEM_HEADERS.get(status, ()), "X-Request-Id")),
        "content": {"application/problem+json": {"schema": schema}},
    }


def _fault() -> Schema:
    fault = HTTPStatus.INTERNAL_SERVER_ERROR
    return _problem(fault, [c for c, (s, _) in problem_codes().items() if s == fault])


def _header_refs(names: Iterable[str]) -> Schema:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _schemas(operations: Iterable[Operation]) -> Schema:
    """The schema of every model in use; of each only the side that is in use."""
    used: dict[type[BaseModel], JsonSchemaMode] = {Problem: "serialization"}
    for operation in operations:
        used |= {m: "serialization" for a in operation.answers for m in a.models}
        if operation.body and operation.body.model:
            used[operation.body.model] = "validation"
    _, found = models_json_schema(
        list(used.items()), ref_template=_REF, schema_generator=_Untitled
    )
    # What docstrings have in reStructuredText, the page has in Markdown.
    schemas: Schema = orjson.loads(orjson.dumps(found["$defs"]).replace(b"``", b"`"))
    return schemas


class _Untitled(GenerateJsonSchema):
    """Without a title for each field that says the field's name again."""

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002
        return False


def _ref(model: type[BaseModel]) -> Schema:
    return {"$ref": _REF.format(model=model.__name__)}


def _tree(kind: type[errors.LedgerError]) -> Iterator[type[errors.LedgerError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _tree(below)


@cache
def _read(name: str) -> bytes:
    return files("ledger.api").joinpath("static", name).read_bytes()


def _static(name: str, content_type: str) -> web.Response:
    return web.Response(
        body=_read(name),
        content_type=content_type,
        charset="utf-8",
        headers=_PAGE_HEADERS,
    )
