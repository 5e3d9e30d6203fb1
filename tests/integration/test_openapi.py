"""The description says what the application does: no less and no more."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import jsonschema_rs
import pytest
from aiohttp import web
from builders import ADMIN_KEY, NUMBER, bearer
from conftest import Client, settings_for
from pydantic import TypeAdapter
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

import ledger.api
from ledger import errors
from ledger.api import check_models, message_models, models, sending_models
from ledger.api.openapi import document
from ledger.api.operations.operation import Operation
from ledger.api.operations.table import OPERATIONS
from ledger.app import make_app

STATIC = Path(ledger.api.__file__).parent / "static"
Document: TypeAlias = Any  # it is read by its keys
METHODS = ("get", "head", "put", "patch", "post", "delete")


@pytest.fixture(scope="module")
def described() -> Document:
    """The document."""
    return document()


def operations(described: Document) -> Iterator[tuple[str, str, Document]]:
    """Method, path and description of everything that is described."""
    for path, item in described["paths"].items():
        for method in METHODS:
            if method in item:
                yield method.upper(), path, item[method]


def test_the_document_is_valid_openapi_3_1(described: Document) -> None:
    """The document is OpenAPI 3.1 and each schema in it JSON Schema 2020-12."""
    OPENAPI_31_VALIDATOR.validate(described)
    for schema in described["components"]["schemas"].values():
        jsonschema_rs.meta.validate(schema)


async def test_every_route_is_described_and_every_description_is_a_route(
    described: Document,
) -> None:
    """The application's methods and paths are the document's, both ways."""
    # No server is there, and none is asked: routes are known before anything starts.
    dsn = "postgresql://nobody@127.0.0.1:1/nothing"
    app = await make_app(dsn, settings_for(dsn))
    registered = [(r.method, _path(r)) for r in app.router.routes()]
    assert len(registered) == len(set(registered))
    assert set(registered) == {(m, path) for m, path, _ in operations(described)}


def _path(route: web.AbstractRoute) -> str:
    assert route.resource is not None
    return route.resource.canonical


def test_each_operation_has_a_name_of_its_own(described: Document) -> None:
    """No two operations have the same operationId, and each has a summary."""
    found = [o for _, _, o in operations(described)]
    assert len({o["operationId"] for o in found}) == len(found)
    assert all(o["summary"] for o in found)


def test_references_lead_somewhere(described: Document) -> None:
    """Every $ref names a component of the document."""

    def references(node: Document) -> Iterator[str]:
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                yield node["$ref"]
            node = list(node.values())
        for inner in node if isinstance(node, list) else ():
            yield from references(inner)

    found = set(references(described))
    assert found
    for reference in found:
        target = described
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]


def test_path_parameters_are_described(described: Document) -> None:
    """What stands in braces in a path is a required path parameter, and no other."""
    for _, path, operation in operations(described):
        parameters = operation.get("parameters", [])
        given = {p["name"] for p in parameters if p["in"] == "path" and p["required"]}
        assert given == set(re.findall(r"{(\w+)}", path))


def test_keys_are_asked_for_everywhere_but_for_twilio_and_operators(
    described: Document,
) -> None:
    """The webhook, health and metrics need no key; all else takes Bearer or Basic."""
    free = {p for _, p, operation in operations(described) if not operation["security"]}
    assert free == {
        "/optInStatus",
        "/twilio/incoming-message",
        "/twilio/message-status",
        "/healthz",
        "/readyz",
        "/metrics",
    }
    for _, path, operation in operations(described):
        if path not in free:
            assert operation["security"] == [{"bearer": []}, {"basic": []}]
            assert "401" in operation["responses"]


async def test_no_key_is_needed_exactly_where_the_document_says_so(
    client: Client,
    described: Document,
) -> None:
    """Without a key every operation is 401, but for those described as free."""
    for method, path, operation in operations(described):
        response = await client.request(method, re.sub(r"\{\w+\}", NUMBER, path))
        assert (response.status == 401) == bool(operation["security"]), path


def test_every_error_code_is_explained(described: Document) -> None:
    """Each error class's code is listed with its status and explanation."""

    def tree(kind: type[errors.LedgerError]) -> Iterator[type[errors.LedgerError]]:
        yield kind
        for below in kind.__subclasses__():
            yield from tree(below)

    listed = {problem["code"]: problem for problem in described["x-problems"]}
    for kind in tree(errors.LedgerError):
        assert listed[kind.code]["title"] == kind.title()


def test_every_problem_is_described_with_its_codes(described: Document) -> None:
    """A refusal is a problem document whose status and codes are named."""
    listed = {problem["code"]: problem["status"] for problem in described["x-problems"]}
    for _, _, operation in operations(described):
        for status, response in operation["responses"].items():
            content = response.get("content", {}).get("application/problem+json")
            if content is not None:
                narrowed = content["schema"]["allOf"][1]["properties"]
                assert narrowed["status"] == {"const": int(status)}
                codes = narrowed["code"]["enum"]
                assert {listed[code] for code in codes} == {int(status)}


def test_every_model_is_used(described: Document) -> None:
    """Each shape of a request or an answer is in the document, and no other is."""
    shapes = {
        name
        for module in (models, check_models, message_models, sending_models)
        for name, kind in vars(module).items()
        if isinstance(kind, type) and issubclass(kind, models.Shape)
    }
    found = set(described["components"]["schemas"])
    assert found - {"JsonValue"} == shapes - {"Shape"}


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o.name)
def test_examples_are_what_the_models_allow(operation: Operation) -> None:
    """An example in the document is one that its own model accepts."""
    if operation.body and operation.body.model:
        operation.body.model.model_validate(operation.body.example)
    for answer in operation.answers:
        if answer.models and answer.example is not None:
            [model, *_] = answer.models
            shape = list[model] if answer.are_many else model  # type: ignore[valid-type]
            TypeAdapter(shape).validate_python(answer.example)


async def test_the_document_is_served_to_readers(client: Client) -> None:
    """GET /openapi.json answers the document."""
    response = await client.get("/openapi.json", headers=bearer())
    assert response.content_type == "application/json"
    assert await response.json() == document()


async def test_a_browser_is_asked_for_the_key(client: Client) -> None:
    """GET /docs without a key offers Basic, in a header of its own."""
    response = await client.get("/docs")
    assert response.status == 401
    offered = response.headers.getall("WWW-Authenticate")
    assert 'Basic realm="consent ledger"' in offered


async def test_the_page_may_load_its_own_files_only(client: Client) -> None:
    """The page is served under a policy without inline scripts or other hosts."""
    headers = {"Authorization": _basic(ADMIN_KEY)}
    page = await client.get("/docs", headers=headers)
    assert page.status == 200
    assert page.content_type == "text/html"
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    text = await page.text()
    for name in re.findall(r'(?:href|src)="(docs/[^"]+)"', text):
        part = await client.get(f"/{name}", headers=headers)
        assert part.status == 200
        assert part.headers["X-Content-Type-Options"] == "nosniff"


def _basic(key: str) -> str:
    return f"Basic {base64.b64encode(f':{key}'.encode()).decode()}"


@pytest.mark.parametrize("name", ["docs.html", "docs.css", "docs.js"])
def test_the_page_names_no_other_host(name: str) -> None:
    """Nothing in the page's files leads to another host, and nothing is inline."""
    text = (STATIC / name).read_text(encoding="utf-8")
    assert "//" not in re.sub(r"^\s*// .*$", "", text, flags=re.MULTILINE)
    if name == "docs.html":
        assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=", text)
    assert "innerHTML" not in text
