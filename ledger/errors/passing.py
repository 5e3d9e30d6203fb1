"""Nothing was acknowledged; the same call may succeed later."""

from ledger.errors.ledger_error import LedgerError


class TryAgain(LedgerError):
    """Not done now; the same request may succeed later."""

    code = "try_again"

    def __init__(self, message: str, *, retry_after_seconds: int = 1) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class StoreUnavailable(TryAgain):
    """The database cannot be used now, so nothing was acknowledged."""

    code = "store_unavailable"


class QueueFull(TryAgain):
    """More signals are waiting to be recorded than the queue may hold."""

    code = "queue_full"


class NotYetProjected(TryAgain):
    """The projection has not reached the position asked for."""

    code = "not_yet_projected"


class NotServed(TryAgain):
    """The tables that answer are of a release that this one does not know."""

    code = "not_served"


class NoticeUndelivered(TryAgain):
    """Whoever is to be told of a change may not have been told."""

    code = "notice_undelivered"
