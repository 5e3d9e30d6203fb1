"""Twilio's request as a text: pure, from parameters to what they say.

Never checks a signature and never asks whether a number looks valid: a STOP is never
rejected for that. The subtle part is what the database could not keep (a NUL, a lone
surrogate, an address too long for an index): it is made harmless or refused here, so
that it can never stop a projection later.
"""

from collections.abc import Mapping
from urllib.parse import unquote_to_bytes

import orjson

from ledger.domain.classify import Classification, Vocabulary, classify
from ledger.domain.ids import (
    EVERY_SENDER,
    Sender,
    canonical_number,
    channel_of,
    is_toll_free,
)
from ledger.domain.messages import Text
from ledger.domain.signals import Signal
from ledger.errors import InvalidRequest, UnusableText
from ledger.webhook.signature import Parameters

ADDRESS_CHARACTERS_MAX = 256


def parse_form(body: bytes | str) -> list[tuple[str, str]]:
    """The fields of a form or a query, in order, repeated and blank ones too."""
    # urllib's parse_qsl does the same with keep_blank_values, three times slower: most
    # of Twilio's values need no decoding at all, or are a number and its plus. That one
    # can go first: it divides nothing and is part of no other escape or character.
    text = body if isinstance(body, str) else body.decode("utf-8", "replace")
    text = text.replace("+", " ").replace("%2B", "+")
    pairs = [pair.partition("=") for pair in text.split("&") if pair]
    if "%" not in text:
        return [(name, value) for name, _, value in pairs]
    return [
        (
            _decoded(name) if "%" in name else name,
            _decoded(value) if "%" in value else value,
        )
        for name, _, value in pairs
    ]


def parse_json(body: bytes) -> list[tuple[str, str]]:
    """The members of a JSON object as fields; what is not text stays as JSON.

    Raises:
        InvalidRequest: it is not a JSON object.
    """
    try:
        members = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"the body is not JSON: {error}") from None
    if not isinstance(members, dict):
        raise InvalidRequest("the body is not a JSON object")
    try:
        return [(name, _text(value)) for name, value in members.items()]
    except orjson.JSONEncodeError as error:
        raise InvalidRequest(f"the body is nested too deeply: {error}") from None


def first(parameters: Parameters, name: str) -> str:
    """The first value of a parameter, or an empty string."""
    return next((value for key, value in parameters if key == name), "")


def parse_text(parameters: Parameters, vocabulary: Vocabulary) -> Text:
    """An inbound text, with what it says of consent.

    Raises:
        UnusableText: From or the message's SID is missing, or an address is too long.
    """
    fields = dict(parameters)
    if len(fields) < len(parameters):
        fields = dict(reversed(parameters))
    message_sid = (
        _address(fields, "MessageSid")
        or _address(fields, "SmsMessageSid")
        or _address(fields, "SmsSid")
    )
    address = _address(fields, "From")
    if not message_sid or not address:
        raise UnusableText("From and MessageSid are needed")
    meaning = classify(fields.get("Body", ""), fields.get("OptOutType"), vocabulary)
    name = f"{_address(fields, 'AccountSid')}:{message_sid}"
    phone_number = canonical_number(address)
    to = _address(fields, "To")
    sender = _named(_address(fields, "MessagingServiceSid") or to, address)
    evidence = evidence_of(parameters, fields, address)
    key = f"twilio:{name}"
    signal = None
    # By place: one of each is made for each text, and names take as long again.
    if meaning.meaning in ("out", "in") and meaning.matched_by is not None:
        signal = Signal(
            key,
            phone_number,
            _addressed(Sender(sender), meaning),
            meaning.meaning,
            None,
            "twilio.inbound",
            meaning.matched_by,
            "subject",
            evidence,
            not _is_yes_to_toll_free(fields, meaning),
        )
    return Text(
        key,
        name,
        phone_number,
        Sender(sender) if sender else None,
        _named(to, address) or None,
        message_sid,
        evidence,
        signal,
    )


def _named(to: str, address: str) -> str:
    """Whom a text is to; a number that texts itself would stay in clear, for ever."""
    return "" if to in (EVERY_SENDER, address) else to


def _addressed(sender: Sender, meaning: Classification) -> Sender:
    """The service, else the Twilio address that was texted.

    Without either, a STOP is for everyone: a doubt is a no. A START is for nobody.
    """
    if sender:
        return sender
    if meaning.meaning == "out":
        return EVERY_SENDER
    raise UnusableText("To or MessagingServiceSid is needed for an opt-in")


def _is_yes_to_toll_free(fields: Mapping[str, str], meaning: Classification) -> bool:
    is_yes = meaning.matched_by == "keyword" and meaning.keyword == "yes"
    return is_yes and is_toll_free(fields.get("To", ""))


def _address(fields: Mapping[str, str], name: str) -> str:
    """A value that goes into an index; the evidence keeps a NUL, a text cannot."""
    value = fields.get(name, "").strip().replace("\0", "\N{REPLACEMENT CHARACTER}")
    if len(value) > ADDRESS_CHARACTERS_MAX:
        raise UnusableText(f"{name} has more than {ADDRESS_CHARACTERS_MAX} characters")
    return value


def evidence_of(
    parameters: Parameters, fields: Mapping[str, str], address: str
) -> dict[str, object]:
    """Every parameter as it was signed; a repeated one as a list."""
    evidence: dict[str, object] = {**fields}
    if len(fields) < len(parameters):
        values: dict[str, list[str]] = {}
        for name, value in parameters:
            values.setdefault(name, []).append(value)
        evidence = {n: v if len(v) > 1 else v[0] for n, v in values.items()}
    evidence["channel"] = channel_of(address)
    return evidence


def _text(value: object) -> str:
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return text.encode("utf-8", "replace").decode()


def _decoded(text: str) -> str:
    return unquote_to_bytes(text).decode("utf-8", "replace")
