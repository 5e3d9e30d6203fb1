"""The request was understood, and is not done."""

from ledger.errors.ledger_error import LedgerError


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


class NotAllowed(RequestRefused):
    """The person has not agreed to texts from this sender."""

    code = "not_allowed"

    def __init__(self, status: str, version: int | None) -> None:
        super().__init__(f"the number is {status} for this sender")
        self.status = status
        """``out`` or ``unknown``."""
        self.version = version
        """Of the event in the person's stream that decided; None where none did."""


class MessageFailed(RequestRefused):
    """Twilio has not taken the text, and it is not sent."""

    code = "message_failed"


class IdempotencyKeyReused(RequestRefused):
    """The Idempotency-Key was used before, for something else."""

    code = "idempotency_key_reused"


class PushRunning(RequestRefused):
    """Another process tells Twilio what people say."""

    code = "push_running"


class RebuildRunning(RequestRefused):
    """Another process rebuilds this projection."""

    code = "rebuild_running"


class RebuildBlocked(RequestRefused):
    """The new version might have somebody texted who was not."""

    code = "rebuild_blocked"


class RebuildCancelled(RequestRefused):
    """The version that was being built is to be built no more."""

    code = "rebuild_cancelled"


class RebuildStuck(RequestRefused):
    """One of the two versions takes no more events, so nothing is compared with it."""

    code = "rebuild_stuck"


class RebuildUnsound(RequestRefused):
    """The new version has not applied what the events say."""

    code = "rebuild_unsound"


class UnsupportedMediaType(RequestRefused):
    """The body's Content-Type is not one that this route reads."""

    code = "unsupported_media_type"


class NotAcceptable(RequestRefused):
    """None of the content types in Accept can be made."""

    code = "not_acceptable"


class BodyTooLarge(RequestRefused):
    """The body is larger than the limit."""

    code = "body_too_large"
