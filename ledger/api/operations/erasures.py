"""``DELETE /PhoneNumbers/{number}``."""

from typing import Final

from ledger import errors
from ledger.api.keys import ERASE
from ledger.api.models import ErasedRecord
from ledger.api.operations.numbers import NUMBER
from ledger.api.operations.operation import Answer, Operation, Parameter

ERASING: Final = (
    Operation(
        method="delete",
        path="/PhoneNumbers/{number}",
        name="erasePhoneNumber",
        tag="Phone numbers",
        summary="Erase a person, and keep the duty not to text them",
        description="Destroys the key that seals the number and its evidence, and the "
        "number's rows; appends the event that says so. The history stays, without "
        "its person. Where the number was `out` for any sender it stays `out`.",
        roles=ERASE,
        parameters=(
            NUMBER,
            Parameter(
                name="reason",
                place="query",
                required=True,
                schema={"type": "string", "minLength": 1, "maxLength": 500},
                example="request by e-mail",
                description="Why. It stays in the ledger for ever, so it must not tell "
                "the number.",
            ),
        ),
        answers=(
            Answer(
                status=200,
                description="Erased, now or before.",
                models=(ErasedRecord,),
                example={
                    "phoneNumber": "+14155550100",
                    "erased": True,
                    "status": "out",
                    "position": 43,
                },
                headers=("Ledger-Position",),
            ),
        ),
        refusals=(
            errors.InvalidQuery,
            errors.InvalidReason,
            errors.NotFound,
            errors.OnHold,
            errors.TwilioRefused,
            errors.TwilioUnavailable,
        ),
    ),
)
