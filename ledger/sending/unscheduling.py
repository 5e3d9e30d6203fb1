"""Canceling what is scheduled to somebody who is about to be erased.

It comes before the erasure, which leaves no SID to cancel by: a text would go out to
somebody whose STOP could not hold it back any more. Never erases. The subtle part is
a text of which nobody knows whether Twilio has it: it is to be settled first.
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime

from ledger.command_handler import CommandHandler
from ledger.domain.ids import SubjectId
from ledger.errors import TryAgain, TwilioNotFound
from ledger.sending.settling import Tools, cancel
from ledger.sending.texts import RequestedText, read_texts
from ledger.settings import Settings
from ledger.store.event_store import EventStore
from ledger.store.keyring import Keyring
from ledger.twilio.account import open_account


class Unscheduling:
    """Cancels a subject's scheduled texts."""

    def __init__(
        self,
        handler: CommandHandler,
        store: EventStore,
        keyring: Keyring,
        settings: Settings,
    ) -> None:
        self._handler = handler
        self._store = store
        self._keyring = keyring
        self._settings = settings

    async def __call__(self, subject_id: SubjectId) -> None:
        """See that nothing that is scheduled to the subject is sent.

        Raises:
            TryAgain: it is not known whether Twilio has one of them.
            TwilioRefused, TwilioUnavailable: one is not known to be canceled.
            StoreUnavailable: what became of one is not recorded. Safe to try again.
        """
        ids = (await self._store.texts_of([subject_id]))[subject_id]
        texts = await read_texts(self._store, self._keyring, ids)
        now = datetime.now(UTC)
        _refuse_unsettled([t for t in texts.values() if t.is_due_after(now)])
        if scheduled := [t for t in texts.values() if t.is_scheduled(now)]:
            await self._cancel(scheduled)

    async def _cancel(self, texts: Sequence[RequestedText]) -> None:
        seconds = self._settings.send_seconds_max
        async with open_account(self._settings) as account:
            tools = Tools(self._handler, self._store, self._keyring, account, seconds)
            for text in texts:
                # Deleted at Twilio: there is nothing that could be sent.
                with suppress(TwilioNotFound):
                    await cancel(tools, text)


def _refuse_unsettled(due_later: Sequence[RequestedText]) -> None:
    if any(text.is_unsettled for text in due_later):
        raise TryAgain(
            "it is not known yet whether Twilio has a scheduled text to the number; "
            "`consent-ledger settle` finds out"
        )
