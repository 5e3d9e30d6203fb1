"""Every error that the ledger raises on purpose.

    LedgerError
    ├── InvalidRequest            the caller's input; says what to change
    │   ├── InvalidPhoneNumber
    │   ├── InvalidConsent
    │   ├── UnusableText
    │   ├── InvalidKey
    │   ├── InvalidReason
    │   ├── UnusableFile
    │   ├── TooManyNumbers
    │   ├── NoNumberColumn
    │   ├── UnknownRegion
    │   └── InvalidQuery
    │       ├── UnknownAttribute
    │       ├── UnknownOperator
    │       ├── FilterNotIndexed
    │       ├── SortNotIndexed
    │       ├── InvalidValue
    │       ├── InvalidLimit
    │       ├── InvalidCursor
    │       ├── InvalidMoment
    │       ├── FutureMoment
    │       └── UnknownTimeZone
    ├── RequestRefused            understood, and not done
    │   ├── Unauthenticated
    │   ├── Forbidden
    │   ├── InvalidSignature
    │   ├── NotFound
    │   ├── MethodNotAllowed
    │   ├── AlreadyExists
    │   ├── PreconditionFailed
    │   ├── OnHold
    │   ├── IdempotencyKeyReused
    │   ├── RebuildRunning
    │   ├── RebuildBlocked
    │   ├── RebuildCancelled
    │   ├── UnsupportedMediaType
    │   ├── NotAcceptable
    │   └── BodyTooLarge
    ├── TryAgain                  nothing was acknowledged; the same call may succeed
    │   ├── StoreUnavailable
    │   ├── QueueFull
    │   ├── NotYetProjected
    │   └── NotServed
    └── Fault                     the service must not go on as if nothing happened
        ├── ConfigurationError
        ├── SchemaMismatch
        ├── MasterKeyMissing
        ├── KeyMissing
        ├── SealBroken
        ├── PositionMissing
        └── UnknownEvent

``code`` is stable: clients and dashboards may compare it. The docstring of a class is
its explanation and the title of its problem document; the message says which value.
Nothing here knows of HTTP: ``ledger.api.problems`` gives each class its status.
"""

from typing import ClassVar


class LedgerError(Exception):
    """Something went wrong in the ledger."""

    code: ClassVar[str] = "ledger_error"

    @classmethod
    def title(cls) -> str:
        """The explanation shared by every error of this class, one line."""
        return (cls.__doc__ or "").strip().splitlines()[0].rstrip(".")


class InvalidRequest(LedgerError):
    """The request cannot be understood as it is."""

    code = "invalid_request"


class InvalidPhoneNumber(InvalidRequest):
    """A phone number must be E.164: a plus sign, then 7 to 15 digits."""

    code = "invalid_phone_number"


class InvalidConsent(InvalidRequest):
    """The consent to be recorded is not a fact that the ledger can keep."""

    code = "invalid_consent"


class UnusableText(InvalidRequest):
    """Twilio's request names no person, or no message, that could be recorded."""

    code = "unusable_text"


class InvalidKey(InvalidRequest):
    """An API key cannot be made like this."""

    code = "invalid_key"


class InvalidReason(InvalidRequest):
    """An erasure or a hold needs a reason, which stays in the ledger for ever."""

    code = "invalid_reason"


class UnusableFile(InvalidRequest):
    """The file cannot be read as rows, so nothing of it was recorded."""

    code = "unusable_file"


class TooManyNumbers(InvalidRequest):
    """A list that is checked has 10,000 numbers at most."""

    code = "too_many_numbers"


class NoNumberColumn(InvalidRequest):
    """The table's header does not say in which column the phone numbers are."""

    code = "no_number_column"


class UnknownRegion(InvalidRequest):
    """A region is two capital letters of ISO 3166, of one that has phone numbers."""

    code = "unknown_region"


class InvalidQuery(InvalidRequest):
    """The query cannot be answered in the way it is put."""

    code = "invalid_query"


class UnknownAttribute(InvalidQuery):
    """The records have no attribute of this name."""

    code = "unknown_attribute"


class UnknownOperator(InvalidQuery):
    """There is no comparison of this name."""

    code = "unknown_operator"


class FilterNotIndexed(InvalidQuery):
    """No index serves this filter, and a list is never a scan of all numbers."""

    code = "filter_not_indexed"


class SortNotIndexed(InvalidQuery):
    """No index serves this order together with these filters."""

    code = "sort_not_indexed"


class InvalidValue(InvalidQuery):
    """The attribute cannot have this value."""

    code = "invalid_value"


class InvalidLimit(InvalidQuery):
    """A page has 1 to 1,000 records and starts at one of the first 10,000."""

    code = "invalid_limit"


class InvalidCursor(InvalidQuery):
    """The cursor was not given for this query."""

    code = "invalid_cursor"


class InvalidMoment(InvalidQuery):
    """A moment is a day, or a time with an offset, that there is."""

    code = "invalid_moment"


class FutureMoment(InvalidQuery):
    """The moment is in the future, of which nothing is known."""

    code = "future_moment"


class UnknownTimeZone(InvalidQuery):
    """There is no time zone of this name."""

    code = "unknown_time_zone"


class RequestRefused(LedgerError):
    """The request was understood, and refused."""

    code = "refused"


class Unauthenticated(RequestRefused):
    """A valid API key is needed."""

    code = "unauthenticated"


class Forbidden(RequestRefused):
    """The API key has no role that allows this."""

    code = "forbidden"


class InvalidSignature(RequestRefused):
    """The request has no signature that Twilio made for this URL and account."""

    code = "invalid_signature"


class NotFound(RequestRefused):
    """There is nothing under this address."""

    code = "not_found"


class MethodNotAllowed(RequestRefused):
    """This address has no such method."""

    code = "method_not_allowed"


class AlreadyExists(RequestRefused):
    """The number has a record already."""

    code = "already_exists"


class PreconditionFailed(RequestRefused):
    """The record is not as If-Match or If-None-Match says."""

    code = "precondition_failed"


class OnHold(RequestRefused):
    """The number is under a legal hold, so nothing of it is erased."""

    code = "on_hold"


class IdempotencyKeyReused(RequestRefused):
    """The Idempotency-Key was used before, for a different consent."""

    code = "idempotency_key_reused"


class RebuildRunning(RequestRefused):
    """Another process rebuilds this projection."""

    code = "rebuild_running"


class RebuildBlocked(RequestRefused):
    """The new version would have somebody texted who was not."""

    code = "rebuild_blocked"


class RebuildCancelled(RequestRefused):
    """The version that was being built is to be built no more."""

    code = "rebuild_cancelled"


class UnsupportedMediaType(RequestRefused):
    """The body's Content-Type is not one that this route reads."""

    code = "unsupported_media_type"


class NotAcceptable(RequestRefused):
    """None of the content types in Accept can be made."""

    code = "not_acceptable"


class BodyTooLarge(RequestRefused):
    """The body is larger than the limit."""

    code = "body_too_large"


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


class Fault(LedgerError):
    """The service must stop and be looked at rather than go on."""

    code = "fault"


class ConfigurationError(Fault):
    """The settings cannot be served with."""

    code = "configuration_error"


class SchemaMismatch(Fault):
    """The database's schema is not the one that this release works with."""

    code = "schema_mismatch"


class MasterKeyMissing(Fault):
    """The master key is not the one that this ledger's keys are wrapped with."""

    code = "master_key_missing"


class KeyMissing(Fault):
    """A key is missing that nobody has erased: restore its table from a backup."""

    code = "key_missing"


class SealBroken(Fault):
    """What was sealed with a subject's key does not open with it: it was altered."""

    code = "seal_broken"


class PositionMissing(Fault):
    """The ledger has a gap: positions are given without one, so an event is missing."""

    code = "position_missing"


class UnknownEvent(Fault):
    """The ledger holds an event that this release does not know."""

    code = "unknown_event"
