"""What a channel of notices promises. ``url`` and ``email`` are the two."""

from types import TracebackType
from typing import Protocol, Self

from ledger.notifying.notice import Notice


class Channel(Protocol):
    """Takes notices to whoever is to be told. Use as ``async with``."""

    @property
    def name(self) -> str:
        """What its checkpoint and its metrics call it."""
        ...

    async def __aenter__(self) -> Self:
        """Be ready; reaches nobody yet."""
        ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of what it holds."""
        ...

    async def deliver(self, notice: Notice) -> None:
        """Return once the other side has it.

        Retries: safe, since a repeat has the same id.
        Cancellation: leaves it unknown whether the other side has it.

        Raises:
            NoticeUndelivered: it may not have it. The message names neither the number
                nor the address.
        """
        ...
