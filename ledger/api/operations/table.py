"""Every operation; a test holds this and the application's routes equal, both ways."""

from typing import Final

from ledger.api.operations.checks import CHECKING
from ledger.api.operations.erasures import ERASING
from ledger.api.operations.events import REPLAYING
from ledger.api.operations.lists import LISTING
from ledger.api.operations.messages import MESSAGES
from ledger.api.operations.numbers import READING, WRITING
from ledger.api.operations.operation import Operation
from ledger.api.operations.sending import SENDING
from ledger.api.operations.service import SERVICE
from ledger.api.operations.twilio import WEBHOOK

OPERATIONS: Final[tuple[Operation, ...]] = (
    *READING,
    *LISTING,
    *WRITING,
    *ERASING,
    *REPLAYING,
    *CHECKING,
    *MESSAGES,
    *SENDING,
    *WEBHOOK,
    *SERVICE,
)
