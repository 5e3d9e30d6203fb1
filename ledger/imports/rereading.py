"""A sink before a sink: what was recorded as saying nothing, and says something now.

A message's SID names the fact, so that it counts once; but its text may have been
recorded as an ordinary one, by the words of then, or its refusal without the error.
What it says now is a fact of its own, with a key of its own, and is recorded without
the text, which is there. An opt-out may not be lost to a duplicate's key.

The subtle part is what stays a duplicate. Twilio's ``OptOutType`` has decided, and is
not in the log; where what was heard is destroyed, nobody knows whether it was there,
and in doubt it is out. A YES that undid no STOP undoes none later. And what was once
read as an ``out`` is not read as an ``in`` any more.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from ledger.command_handler import CommandHandler
from ledger.domain.classify import stated_by
from ledger.domain.events import MessageReceived, MessageSent, MessageStatusChanged
from ledger.domain.ids import Position
from ledger.domain.messages import BLOCKED
from ledger.domain.signals import Signal
from ledger.imports.importer import Outcome, Sink
from ledger.store.event_store import EventStore
from ledger.store.keyring import Keyring

_TOLD: Final = (MessageSent, MessageStatusChanged)


class Rereading:
    """Gives what is to be read anew its own key, and passes everything on."""

    def __init__(
        self,
        sink: Sink,
        handler: CommandHandler,
        store: EventStore,
        keyring: Keyring,
    ) -> None:
        self._sink = sink
        self._handler = handler
        self._store = store
        self._keyring = keyring

    async def take(self, signals: Sequence[Signal]) -> list[Outcome]:
        """See ``Sink.take``."""
        known = await self._handler.positions_of(signals)
        anew = await self._anew(signals, known) if known else {}
        return await self._sink.take([anew.get(i, s) for i, s in enumerate(signals)])

    async def _anew(
        self, signals: Sequence[Signal], known: Mapping[int, Position]
    ) -> dict[int, Signal]:
        """Those that say more than was recorded of them, by their place."""
        events = dict(await self._store.read_at([*set(known.values())]))
        texts = {p: e for p, e in events.items() if isinstance(e, MessageReceived)}
        opened = await self._keyring.opened([*texts.values()])
        heard = {p: each.evidence for p, each in zip(texts, opened, strict=True)}
        found: dict[int, Signal] = {}
        for place, position in known.items():
            signal, event = signals[place], events[position]
            if isinstance(event, MessageReceived):
                if _says_more(signal, heard[position]):
                    found[place] = _reread(signal, position)._replace(
                        # Of what the webhook has heard, in the order in which it has.
                        occurred_at=event.occurred_at,
                        sender=event.sender or signal.sender,
                    )
            elif isinstance(event, _TOLD) and event.error_code != BLOCKED:
                found[place] = _reread(signal, position)
        return await self._without_reversed(found)

    async def _without_reversed(self, found: dict[int, Signal]) -> dict[int, Signal]:
        places = [i for i, signal in found.items() if signal.status == "in"]
        outs = [found[i]._replace(key=_key(found[i].key, "out")) for i in places]
        reversed_ = {places[i] for i in await self._handler.positions_of(outs)}
        return {i: signal for i, signal in found.items() if i not in reversed_}


def _says_more(signal: Signal, heard: Mapping[str, object] | None) -> bool:
    if heard is None:
        return signal.status == "out"
    has_decided = stated_by(str(heard.get("OptOutType", ""))) is not None
    return not has_decided and signal.undoes_out


def _reread(signal: Signal, position: Position) -> Signal:
    evidence = {**signal.evidence, "textPosition": position}
    return signal._replace(key=_key(signal.key, signal.status), evidence=evidence)


def _key(key: str, status: str) -> str:
    return f"{key}:{status}"
