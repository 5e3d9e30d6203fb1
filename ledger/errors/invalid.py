"""The caller's input cannot be used; says what to change."""

from ledger.errors.ledger_error import LedgerError


class InvalidRequest(LedgerError):
    """The request cannot be understood as it is."""

    code = "invalid_request"


class InvalidPhoneNumber(InvalidRequest):
    """A phone number must be E.164: a plus sign, then 7 to 15 digits."""

    code = "invalid_phone_number"


class InvalidConsent(InvalidRequest):
    """The consent to be recorded is not a fact that the ledger can keep."""

    code = "invalid_consent"


class InvalidMessage(InvalidRequest):
    """The text to be sent is not one that can be."""

    code = "invalid_message"


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
    """A region is two letters of ISO 3166, of one that has phone numbers."""

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
