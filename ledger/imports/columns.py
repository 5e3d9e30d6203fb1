"""Which column is what: by name, in the spellings that exports use.

Never guesses between two: where a file has two columns for one thing, it has to be said
which.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, get_args

from ledger.errors import InvalidRequest, UnusableFile

Field = Literal["phoneNumber", "status", "sender", "occurredAt", "key", "evidence"]
FIELDS: Final[tuple[Field, ...]] = get_args(Field)

SPELLINGS: Final[Mapping[Field, tuple[str, ...]]] = MappingProxyType(
    {
        "phoneNumber": (
            *"phone number mobile cell msisdn telephone tel from".split(),
            *(f"{kind}number" for kind in ("mobile", "cell", "telephone")),
            *(f"{kind}phone" for kind in ("mobile", "cell")),
        ),
        "status": (
            *"consent consentstatus optinstatus optoutstatus".split(),
            *"subscriptionstatus smsstatus smsconsent".split(),
        ),
        "sender": ("senderid", "messagingservicesid", "messagingservice"),
        "occurredAt": (
            *"date time timestamp datetime datesent sentdate".split(),
            *"dateofconsent consentdate consenttime consentedat".split(),
            *"optindate optoutdate optedinat optedoutat".split(),
            *"subscribedat unsubscribedat unsubscribedate".split(),
        ),
        "key": ("rowkey", "messagesid", "smsmessagesid", "sid"),
        "evidence": (),
    }
)
"""What is read as which field, besides its own name; letters and digits alone count."""

OWN_EXPORT: Final = frozenset(("position", "kind", "subjectId", "version"))
"""The names by which an export of a ledger is known."""

_REST: Final = re.compile(r"[\W_]+")


class Columns(NamedTuple):
    """Which names are which field, and which are neither."""

    fields: Mapping[Field, str]
    rest: tuple[str, ...]
    is_own_export: bool


def resolve(
    names: Sequence[str],
    given: Mapping[Field, str],
    wanted: Iterable[Field] = FIELDS,
    without: Iterable[str] = (),
) -> Columns:
    """What the columns ``names`` are; ``given`` says it of some, whatever their names.

    Fields that are not ``wanted`` are not looked for; columns ``without`` which to do
    are in neither.

    Raises:
        UnusableFile: two columns would do for one field.
    """
    is_own = names and OWN_EXPORT.issubset(names)
    fields = {field: name for field, name in given.items() if name in names}
    plain = {name: plain_name(name) for name in names if name not in fields.values()}
    for field in wanted:
        if field not in given:
            found = _found(field, plain)
            if found is not None:
                fields[field] = found
                del plain[found]
    if is_own and "key" not in given:
        fields["key"] = "position"
    to = next((name for name, word in plain.items() if word == "to"), None)
    if to and plain_name(fields.get("phoneNumber", "")) == "from":
        fields.setdefault("sender", to)
    taken = {*fields.values(), *without}
    rest = tuple(name for name in names if name not in taken)
    return Columns(MappingProxyType(fields), rest, bool(is_own))


def parse_mapping(given: Iterable[str]) -> dict[Field, str]:
    """``phoneNumber=Mobile`` and the like, as a mapping.

    Raises:
        InvalidRequest: it is not of that form, or the field is not known.
    """
    mapping: dict[Field, str] = {}
    for text in given:
        field, equals, name = text.partition("=")
        if field not in FIELDS or not equals or not name.strip():
            raise InvalidRequest(
                f"--column is FIELD=COLUMN, and a field one of {', '.join(FIELDS)}"
            )
        mapping[field] = name.strip()
    return mapping


def _found(field: Field, plain: Mapping[str, str]) -> str | None:
    own = plain_name(field)
    exact = [name for name, word in plain.items() if word == own]
    found = exact or [name for name, word in plain.items() if word in SPELLINGS[field]]
    if len(found) > 1:
        raise UnusableFile(
            f"{' and '.join(map(repr, found))} may both be the {field}: say which "
            f"with --column '{field}={found[0]}'"
        )
    return found[0] if found else None


def plain_name(name: str) -> str:
    """A column's name by its letters and digits alone, as spellings are compared."""
    return _REST.sub("", name).casefold()
