"""What Twilio's REST API refuses, and what it leaves open."""

from ledger.errors.passing import TryAgain
from ledger.errors.refused import RequestRefused


class TwilioRefused(RequestRefused):
    """Twilio understood what it was asked for, and refused it."""

    code = "twilio_refused"

    def __init__(
        self, message: str, *, status: int, twilio_code: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.twilio_code = twilio_code
        """Twilio's own code, as https://www.twilio.com/docs/api/errors lists them."""


class TwilioUnauthenticated(TwilioRefused):
    """Twilio does not take the account SID and the auth token for a pair."""

    code = "twilio_unauthenticated"


class TwilioForbidden(TwilioRefused):
    """The account at Twilio may not do this, or is suspended."""

    code = "twilio_forbidden"


class TwilioNotFound(TwilioRefused):
    """The account at Twilio has nothing with this SID."""

    code = "twilio_not_found"


class TwilioUnavailable(TryAgain):
    """Twilio cannot be reached, or cannot answer."""

    code = "twilio_unavailable"

    def __init__(
        self, message: str, *, retry_after_seconds: int = 1, may_be_done: bool = False
    ) -> None:
        super().__init__(message, retry_after_seconds=retry_after_seconds)
        self.may_be_done = may_be_done
        """Whether Twilio may have done it all the same: ask before it is repeated."""


class TwilioTimeout(TwilioUnavailable):
    """Twilio did not answer in time."""

    code = "twilio_timeout"


class TwilioBusy(TwilioUnavailable):
    """Twilio has too many requests of the account, and did not process this one."""

    code = "twilio_busy"


class TwilioUnusableAnswer(TwilioUnavailable):
    """What Twilio's address answered is not what Twilio documents."""

    code = "twilio_unusable_answer"
