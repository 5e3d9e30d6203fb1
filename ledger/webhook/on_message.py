"""``on_message``: a number's or a service's own code, called with each text.

Called after what a text says is durable, so that nothing it does can lose it: it may
fail, be slow or never come back, and all that is lost is its reply. Called again for a
text that Twilio sends again. The subtle part is code that never ends: a thread cannot
be ended, so how many calls are open is bounded, and those above are not made.
"""

import asyncio
import importlib
import inspect
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, Final

from ledger.domain.classify import Meaning
from ledger.domain.ids import EVERY_SENDER
from ledger.errors import ConfigurationError

log = logging.getLogger(__name__)

GROUP: Final = "consent_ledger.on_message"
"""Where a package names its handlers, as entry points."""


@dataclass(frozen=True, slots=True)
class InboundMessage:
    """A text as a handler gets it."""

    sid: str
    account_sid: str
    from_: str
    """Who texted, with its channel: ``whatsapp:+1…``."""
    to: str
    service_sid: str
    """The Messaging Service, or an empty string."""
    body: str
    channel: str
    meaning: Meaning | None
    """What it says of consent: ``out``, ``in``, ``help``, or nothing."""
    is_repeat: bool
    """Whether the ledger had it before: Twilio asks again where an answer was lost."""
    parameters: Mapping[str, str] = field(repr=False)
    """Every parameter that Twilio signed."""


Handler = Callable[[InboundMessage], "str | Awaitable[str | None] | None"]
Handlers = Mapping[str, Handler]


class HandlerBusy(Exception):
    """So many calls are open that no other is made."""


def load_handlers(names: Mapping[str, str]) -> Handlers:
    """The handlers behind their names, by the number or service that they are for.

    Raises:
        ConfigurationError: one cannot be imported, or is no function.
    """
    return {sender: _load(name) for sender, name in names.items()}


class HandlerCalls:
    """Calls handlers, so many at once."""

    def __init__(self, handlers: Handlers, *, calls_max: int) -> None:
        self._handlers = handlers
        self._calls_max = calls_max
        self._open = 0

    def handler_for(self, *, to: str, service_sid: str) -> Handler | None:
        """The service's, else the number's, else the one for all others."""
        for name in (service_sid, to, EVERY_SENDER):
            if name and name in self._handlers:
                return self._handlers[name]
        return None

    async def call(self, handler: Handler, message: InboundMessage) -> str | None:
        """What a handler replies; whoever stops waiting leaves it to its fate.

        Raises:
            HandlerBusy: too many calls are open.
            Exception: whatever the handler raises.
        """
        if self._open >= self._calls_max:
            raise HandlerBusy
        self._open += 1
        call: asyncio.Future[str | None]
        if inspect.iscoroutinefunction(handler):
            call = asyncio.ensure_future(handler(message))
        else:
            call = _in_a_thread(handler, message)
        call.add_done_callback(self._closed)
        try:
            # Unlike awaiting it, this ends when we are cancelled, whatever it does.
            await asyncio.wait((call,))
        finally:
            if not call.done() and isinstance(call, asyncio.Task):
                call.cancel()
        result = call.result()
        if inspect.iscoroutine(result):
            result.close()
            raise TypeError("a plain function returned a coroutine: make it async def")
        return result

    def _closed(self, call: asyncio.Future[str | None]) -> None:
        self._open -= 1
        if not call.cancelled():
            call.exception()  # or asyncio says that nobody has asked for it


def _in_a_thread(
    handler: Handler, message: InboundMessage
) -> "asyncio.Future[str | None]":
    """A plain function's result, from a thread that does not outlive the process."""
    # Not of asyncio's own pool: those threads are waited for when the process ends,
    # and a handler that never ends would hold it up.
    loop = asyncio.get_running_loop()
    future: asyncio.Future[str | None] = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:  # noqa: ANN401
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)

    def run() -> None:
        result, error = None, None
        try:
            result = handler(message)
        except Exception as raised:  # noqa: BLE001 - it is the caller's, who counts it
            error = raised
        except BaseException as raised:  # noqa: BLE001 - sys.exit() ends nothing here
            error = RuntimeError(type(raised).__name__)
        try:
            loop.call_soon_threadsafe(settle, result, error)
        except RuntimeError:
            log.info("on_message_late")  # The loop has ended before the handler did.

    threading.Thread(target=run, name="on_message", daemon=True).start()
    return future


def _load(name: str) -> Handler:
    try:
        found = _imported(name) if ":" in name else _entry_point(name)
    except Exception as error:
        kind = type(error).__name__
        raise ConfigurationError(
            f"LEDGER_ON_MESSAGE: {name!r} cannot be loaded: {kind}: {error}"
        ) from error
    if not callable(found):
        raise ConfigurationError(f"LEDGER_ON_MESSAGE: {name!r} is no function")
    handler: Handler = found
    return handler


def _imported(name: str) -> object:
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


def _entry_point(name: str) -> object:
    for found in entry_points(group=GROUP, name=name):
        return found.load()
    raise LookupError(f"no package has it in its group {GROUP}; is it module:function?")
