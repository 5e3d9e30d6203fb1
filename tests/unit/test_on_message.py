"""Handlers: found by number or service, called, and outlived."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import on_message_handlers
import pytest
from conftest import eventually
from on_message_handlers import echo, echo_async, hanging, hanging_async, leaving

from ledger.errors import ConfigurationError
from ledger.settings import Settings
from ledger.webhook.on_message import (
    Handler,
    HandlerBusy,
    HandlerCalls,
    InboundMessage,
    load_handlers,
)

MESSAGE = InboundMessage(
    sid="SM1",
    account_sid="AC1",
    from_="+14155550100",
    to="+14155550199",
    service_sid="",
    body="hello",
    channel="sms",
    meaning=None,
    is_repeat=False,
    parameters={},
)


@pytest.fixture(autouse=True)
def released() -> Iterator[None]:
    """Whoever waits is let go when the test ends."""
    on_message_handlers.release.clear()
    yield
    on_message_handlers.release.set()


def calls(*handlers: Handler, calls_max: int = 2) -> HandlerCalls:
    """Calls of these, so many at once."""
    return HandlerCalls(
        {str(n): h for n, h in enumerate(handlers)}, calls_max=calls_max
    )


@pytest.mark.parametrize("handler", [echo, echo_async])
async def test_a_handler_may_be_plain_or_async(handler: Handler) -> None:
    """Both get the message and reply."""
    assert await calls().call(handler, MESSAGE) == "<hello> & \x00"


async def test_what_a_handler_raises_comes_back() -> None:
    """An exit too, which ends nothing but the call."""
    table: list[tuple[Handler, type[Exception]]] = [
        (on_message_handlers.failing, RuntimeError),
        (leaving, RuntimeError),
        (on_message_handlers.confused, TypeError),
    ]
    for handler, error in table:
        with pytest.raises(error):
            await calls().call(handler, MESSAGE)


@pytest.mark.parametrize("handler", [hanging, hanging_async])
async def test_whoever_never_comes_back_is_left_and_counted(handler: Handler) -> None:
    """Nobody waits longer than wanted; so many open calls, and no more are made."""
    caller = calls(calls_max=2)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await caller.call(handler, MESSAGE)
    with pytest.raises(HandlerBusy):
        await caller.call(echo, MESSAGE)
    on_message_handlers.release.set()

    async def is_free() -> bool:
        try:
            return await caller.call(echo, MESSAGE) is not None
        except HandlerBusy:
            return False

    await eventually(is_free)


def test_a_handler_is_the_services_else_the_numbers_else_everybodys() -> None:
    """The nearest one is called, and only that one."""
    handlers = {"MG1": echo, "+1": echo_async, "*": hanging}
    caller = HandlerCalls(handlers, calls_max=1)
    assert caller.handler_for(to="+1", service_sid="MG1") is echo
    assert caller.handler_for(to="+1", service_sid="MG2") is echo_async
    assert caller.handler_for(to="+2", service_sid="") is hanging
    assert HandlerCalls({}, calls_max=1).handler_for(to="+1", service_sid="") is None


def test_handlers_are_named_in_a_setting() -> None:
    """One for all, or one each for numbers and services, as JSON."""
    one = Settings.from_mapping({"LEDGER_ON_MESSAGE": "on_message_handlers:echo"})
    assert load_handlers(one.on_message) == {"*": echo}
    given = '{"+14155550199": "on_message_handlers:echo_async"}'
    some = Settings.from_mapping({"LEDGER_ON_MESSAGE": given})
    assert load_handlers(some.on_message) == {"+14155550199": echo_async}
    assert some.answers_texts
    assert not Settings().answers_texts


@pytest.mark.parametrize(
    "name",
    [
        "nowhere_to_be_found:on_message",
        "on_message_handlers:nothing",
        "on_message_handlers:NOT_A_FUNCTION",
        "no-such-entry-point",
        ":",
    ],
)
def test_a_handler_that_cannot_be_loaded_is_refused_at_the_start(name: str) -> None:
    """The error names the setting and the handler."""
    with pytest.raises(ConfigurationError, match="LEDGER_ON_MESSAGE"):
        load_handlers({"*": name})


def test_an_entry_point_is_found_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package that is installed names its handlers in our group."""
    folder = tmp_path / "shop-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Name: shop\nVersion: 1\n")
    points = "[consent_ledger.on_message]\nshop = on_message_handlers:echo\n"
    (folder / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert load_handlers({"*": "shop"}) == {"*": echo}


@pytest.mark.parametrize("value", ["{", '{"*": 7}', '{"*": {}}'])
def test_a_setting_that_is_no_table_of_names_is_refused(value: str) -> None:
    """A slip in the JSON is not taken for a name."""
    with pytest.raises(ConfigurationError):
        Settings.from_mapping({"LEDGER_ON_MESSAGE": value})
