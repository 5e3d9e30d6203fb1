"""Every error that the ledger raises on purpose.

    LedgerError
    ├── InvalidRequest            the caller's input; says what to change
    │   ├── InvalidPhoneNumber
    │   ├── InvalidConsent
    │   ├── InvalidMessage
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
    │   ├── NotAllowed
    │   ├── MessageFailed
    │   ├── IdempotencyKeyReused
    │   ├── PushRunning
    │   ├── RebuildRunning
    │   ├── RebuildBlocked
    │   ├── RebuildCancelled
    │   ├── RebuildStuck
    │   ├── RebuildUnsound
    │   ├── UnsupportedMediaType
    │   ├── NotAcceptable
    │   ├── BodyTooLarge
    │   └── TwilioRefused         Twilio understood, and said no
    │       ├── TwilioUnauthenticated
    │       ├── TwilioForbidden
    │       └── TwilioNotFound
    ├── TryAgain                  nothing was acknowledged; the same call may succeed
    │   ├── StoreUnavailable
    │   ├── QueueFull
    │   ├── NotYetProjected
    │   ├── NotServed
    │   ├── NoticeUndelivered
    │   └── TwilioUnavailable     what Twilio was asked for may not be done
    │       ├── TwilioTimeout
    │       ├── TwilioBusy
    │       └── TwilioUnusableAnswer
    └── Fault                     the service must not go on as if nothing happened
        ├── ConfigurationError
        ├── SchemaMismatch
        ├── MasterKeyMissing
        ├── KeyMissing
        ├── SealBroken
        ├── PositionMissing
        ├── EventBroken
        ├── UnknownEvent
        └── ChainBroken

``code`` is stable: clients and dashboards may compare it. The docstring of a class is
its explanation and the title of its problem document; the message says which value.
Nothing here knows of HTTP: ``ledger.api.problems`` gives each class its status.
"""

from ledger.errors.faults import (
    ChainBroken,
    ConfigurationError,
    EventBroken,
    Fault,
    KeyMissing,
    MasterKeyMissing,
    PositionMissing,
    SchemaMismatch,
    SealBroken,
    UnknownEvent,
)
from ledger.errors.invalid import (
    FilterNotIndexed,
    FutureMoment,
    InvalidConsent,
    InvalidCursor,
    InvalidKey,
    InvalidLimit,
    InvalidMessage,
    InvalidMoment,
    InvalidPhoneNumber,
    InvalidQuery,
    InvalidReason,
    InvalidRequest,
    InvalidValue,
    NoNumberColumn,
    SortNotIndexed,
    TooManyNumbers,
    UnknownAttribute,
    UnknownOperator,
    UnknownRegion,
    UnknownTimeZone,
    UnusableFile,
    UnusableText,
)
from ledger.errors.ledger_error import (
    LedgerError,
)
from ledger.errors.passing import (
    NoticeUndelivered,
    NotServed,
    NotYetProjected,
    QueueFull,
    StoreUnavailable,
    TryAgain,
)
from ledger.errors.refused import (
    AlreadyExists,
    BodyTooLarge,
    Forbidden,
    IdempotencyKeyReused,
    InvalidSignature,
    MessageFailed,
    MethodNotAllowed,
    NotAcceptable,
    NotAllowed,
    NotFound,
    OnHold,
    PreconditionFailed,
    PushRunning,
    RebuildBlocked,
    RebuildCancelled,
    RebuildRunning,
    RebuildStuck,
    RebuildUnsound,
    RequestRefused,
    Unauthenticated,
    UnsupportedMediaType,
)
from ledger.errors.twilio import (
    TwilioBusy,
    TwilioForbidden,
    TwilioNotFound,
    TwilioRefused,
    TwilioTimeout,
    TwilioUnauthenticated,
    TwilioUnavailable,
    TwilioUnusableAnswer,
)

__all__ = [
    "AlreadyExists",
    "BodyTooLarge",
    "ChainBroken",
    "ConfigurationError",
    "EventBroken",
    "Fault",
    "FilterNotIndexed",
    "Forbidden",
    "FutureMoment",
    "IdempotencyKeyReused",
    "InvalidConsent",
    "InvalidCursor",
    "InvalidKey",
    "InvalidLimit",
    "InvalidMessage",
    "InvalidMoment",
    "InvalidPhoneNumber",
    "InvalidQuery",
    "InvalidReason",
    "InvalidRequest",
    "InvalidSignature",
    "InvalidValue",
    "KeyMissing",
    "LedgerError",
    "MasterKeyMissing",
    "MessageFailed",
    "MethodNotAllowed",
    "NoNumberColumn",
    "NotAcceptable",
    "NotAllowed",
    "NotFound",
    "NotServed",
    "NotYetProjected",
    "NoticeUndelivered",
    "OnHold",
    "PositionMissing",
    "PreconditionFailed",
    "PushRunning",
    "QueueFull",
    "RebuildBlocked",
    "RebuildCancelled",
    "RebuildRunning",
    "RebuildStuck",
    "RebuildUnsound",
    "RequestRefused",
    "SchemaMismatch",
    "SealBroken",
    "SortNotIndexed",
    "StoreUnavailable",
    "TooManyNumbers",
    "TryAgain",
    "TwilioBusy",
    "TwilioForbidden",
    "TwilioNotFound",
    "TwilioRefused",
    "TwilioTimeout",
    "TwilioUnauthenticated",
    "TwilioUnavailable",
    "TwilioUnusableAnswer",
    "Unauthenticated",
    "UnknownAttribute",
    "UnknownEvent",
    "UnknownOperator",
    "UnknownRegion",
    "UnknownTimeZone",
    "UnsupportedMediaType",
    "UnusableFile",
    "UnusableText",
]
