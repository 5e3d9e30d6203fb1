"""The log of texts, for whoever sends them, hears of them or compares them with Twilio.

What there is to record, all in ``ledger.domain.messages``, each with a key that makes
it count once, however often and by however many it is recorded:

- ``Text``: somebody has sent us one. With a ``Signal`` where it says something of
  consent; both become events of one transaction.
- ``SendRequest``: somebody wants one to be sent. Recorded before Twilio is asked;
  raises ``NotAllowed`` where no consent allows it, and no STOP fits between the check
  and the record of it.
- ``SentReport``: Twilio has it, under a SID. Its ``name`` is that of the request where
  it was ours, else ``<AccountSid>:<MessageSid>``; its key is the SID's in either case.
- ``StatusReport``: what became of it, by Twilio's callback or our own attempt; a
  refusal is one too, with status ``failed``. Of a text that nobody has recorded it
  becomes the ``MessageSent`` that begins its stream. With a ``block_signal`` where the
  error is 21610.

``record`` takes one and waits for its batch; ``record_all`` takes many, which become
one transaction and are the caller's to bound. Either is safe to call again after any
error. A receipt says at which position, and ``is_new`` whether it was not there before:
who sends must look at that, since what was there before was sent before.
"""

from collections.abc import Sequence

from ledger.command_handler import CommandHandler, Receipt
from ledger.deciding import read_messages
from ledger.domain.events import MessageEvent
from ledger.domain.ids import MessageId, Position
from ledger.domain.messages import Arrival, Message
from ledger.store.event_store import EventStore
from ledger.store.keyring import Keyring


class MessageLog:
    """Records and finds texts. Calls no one and decides nothing."""

    def __init__(
        self, handler: CommandHandler, store: EventStore, keyring: Keyring
    ) -> None:
        self._handler = handler
        self._store = store
        self._keyring = keyring

    async def record(self, arrival: Arrival) -> Receipt:
        """Record one, durably; counted in the metrics.

        Raises:
            NotAllowed: it wants to send where no consent allows it.
            InvalidConsent, QueueFull, StoreUnavailable, UnknownEvent: as
                ``CommandHandler.handle``.
        """
        # The command line imports this module before ``serve`` has a folder for counts.
        from ledger.observations import count_arrival  # noqa: PLC0415

        receipt = await self._handler.handle(arrival)
        count_arrival(arrival, receipt)
        return receipt

    async def record_all(
        self, arrivals: Sequence[Arrival]
    ) -> Sequence[Receipt | Exception]:
        """Record many in one transaction; one result each, in their order.

        Raises:
            StoreUnavailable: it is not known whether any of them is durable.
        """
        return await self._handler.handle_all(arrivals)

    async def message_id(self, name: str) -> MessageId:
        """The stream of a text of that name, whether or not anything is in it."""
        return (await self._keyring.identity()).message_id(name)

    async def find(self, account_sid: str, message_sid: str) -> MessageId | None:
        """The stream of a text by its SID: ours, or anybody's that is recorded.

        Raises:
            StoreUnavailable: the database cannot be read now.
        """
        name = f"{account_sid}:{message_sid}"
        identity = await self._keyring.identity()
        position = await self._store.position_of(identity.signal_key(f"twilio:{name}"))
        if position is not None:
            # What was said of consent comes first, and then the text.
            for _, event in await self._store.read_after(Position(position - 1), 2):
                if isinstance(event, MessageEvent):
                    return event.message_id
        message_id = identity.message_id(name)
        return message_id if (await self.read(message_id)).version else None

    async def read(self, message_id: MessageId) -> Message:
        """What is known of a text.

        Raises:
            StoreUnavailable: the database cannot be read now.
        """
        return (await read_messages(self._store, [message_id]))[message_id]
