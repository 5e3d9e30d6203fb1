"""Twilio's own log of messages: what each text says decides, as with the webhook.

The same rules and the same signal key as when Twilio calls: a text that is in the log
and came in by the webhook counts once.
"""

from datetime import datetime
from types import MappingProxyType
from typing import Final

from ledger.domain.classify import Vocabulary
from ledger.domain.evidence import checked_evidence
from ledger.domain.signals import Signal
from ledger.errors import InvalidConsent, UnusableFile, UnusableText
from ledger.imports.columns import plain_name
from ledger.imports.interpret import Interpreted, Rules, Skipped, given_text
from ledger.imports.refusals import RowRefused
from ledger.imports.rows import Fields, Row
from ledger.imports.times import parse_time
from ledger.webhook.parse import parse_text

_PARAMETERS: Final = MappingProxyType(
    {
        "from": "From",
        "to": "To",
        "body": "Body",
        "sid": "MessageSid",
        "messagesid": "MessageSid",
        "accountsid": "AccountSid",
        "messagingservicesid": "MessagingServiceSid",
        "optouttype": "OptOutType",
    }
)
"""What a log calls what the webhook's parameters are."""
_TIMES: Final = ("datesent", "sentdate", "datecreated")
_DIRECTION: Final = "direction"
_NEEDED: Final = ("from", "to", "body")


class TextInterpreter:
    """Reads the rows of a log by ``rules``."""

    def __init__(
        self, rules: Rules, vocabulary: Vocabulary, names: tuple[str, ...] | None
    ) -> None:
        """Look at the header, where there is one.

        Raises:
            UnusableFile: it is not a log of texts.
        """
        self._rules = rules
        self._vocabulary = vocabulary
        if names is not None:
            plain = set(map(plain_name, names))
            missing = [name for name in _NEEDED if name not in plain]
            if missing:
                raise UnusableFile(f"a log of texts has a column {missing[0]!r}")

    def interpret(self, row: Row) -> Interpreted:
        """What the text in ``row`` says.

        Raises:
            RowRefused: it says something, and cannot be recorded.
        """
        fields = {plain_name(name): value for name, value in row.fields.items()}
        if not given_text(fields, _DIRECTION, "inbound").startswith("inbound"):
            return Skipped("otherDirection")
        parameters = [
            (_PARAMETERS.get(plain_name(name), name), given_text(row.fields, name))
            for name, value in row.fields.items()
            if value not in ("", None) and name not in self._rules.without
        ]
        try:
            signal = parse_text(parameters, self._vocabulary).signal
        except UnusableText as error:
            raise RowRefused("unusable_text", str(error)) from None
        if signal is None:
            return Skipped("saysNothing")
        at = self._occurred_at(fields, signal)
        origin = {
            "source": self._rules.source,
            "file": self._rules.file,
            "line": row.line,
        }
        try:
            evidence = checked_evidence({**signal.evidence, "import": origin})
        except InvalidConsent as error:
            raise RowRefused("invalid_evidence", str(error)) from None
        return signal._replace(
            occurred_at=at, source="twilio.import", evidence=evidence
        )

    def _occurred_at(self, fields: Fields, signal: Signal) -> datetime | None:
        found = (given_text(fields, name) for name in _TIMES)
        given = next(filter(None, found), None) or self._rules.occurred_at
        if given:
            return parse_time(given, signal.status, self._rules.now())
        if signal.status == "out":
            return None
        raise RowRefused("missing_time", "an opt-in needs its time")
