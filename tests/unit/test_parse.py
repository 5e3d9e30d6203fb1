"""From Twilio's parameters to what they say of consent."""

from typing import Any
from urllib.parse import urlencode

import pytest
from builders import ACCOUNT_SID, NUMBER, SENDER, text_form

from ledger.domain.classify import Vocabulary
from ledger.domain.messages import Text
from ledger.domain.signals import Signal
from ledger.errors import InvalidRequest, UnusableText
from ledger.webhook.parse import (
    ADDRESS_CHARACTERS_MAX,
    first,
    parse_form,
    parse_json,
    parse_text,
)

DEFAULT = Vocabulary()
SERVICE = "MG" + "d" * 32


def said(body: str = "STOP", **more: str) -> Signal | None:
    """What an inbound text says."""
    return parse_text(list(text_form(body, **more).items()), DEFAULT).signal


def consent(body: str = "STOP", **more: str) -> Signal:
    """The same, of a text that says something of consent."""
    signal = said(body, **more)
    assert signal is not None
    return signal


def without(*names: str, **more: str) -> list[tuple[str, str]]:
    """A STOP that lacks some parameters."""
    form = text_form("STOP", **more).items()
    return [(name, value) for name, value in form if name not in names]


def test_a_stop_becomes_a_signal_with_all_that_twilio_sent() -> None:
    """Key, person, sender and evidence come from the signed parameters."""
    form = text_form("Stop!", MessageSid="SM1")
    evidence = {**form, "channel": "sms"}
    assert parse_text(list(form.items()), DEFAULT) == Text(
        key=f"twilio:{ACCOUNT_SID}:SM1",
        name=f"{ACCOUNT_SID}:SM1",
        phone_number=NUMBER,
        sender=SENDER,
        address=SENDER,
        sid="SM1",
        evidence=evidence,
        signal=Signal(
            key=f"twilio:{ACCOUNT_SID}:SM1",
            phone_number=NUMBER,
            sender=SENDER,
            status="out",
            occurred_at=None,
            source="twilio.inbound",
            matched_by="keyword",
            actor="subject",
            evidence=evidence,
        ),
    )


def test_a_text_is_to_a_service_and_an_address() -> None:
    """Which it names; and to nobody, where it is to itself or to no one."""
    both = parse_text([*text_form("Hi", MessagingServiceSid=SERVICE).items()], DEFAULT)
    assert (both.sender, both.address, both.signal) == (SERVICE, SENDER, None)
    for form in (without("To"), [*text_form("Hi", To=NUMBER).items()]):
        text = parse_text(form, DEFAULT)
        assert (text.sender, text.address) == (None, None)


@pytest.mark.parametrize(
    ("body", "status", "matched_by"),
    [
        ("STOP", "out", "keyword"),
        ("ＳＴＯＰ", "out", "keyword"),  # noqa: RUF001 - full-width letters
        ("STOP 🛑", "out", "keyword"),
        ("STOP\0", "out", "keyword"),
        ("please stop texting me", "out", "freeText"),
        ("stop texting me " + "a" * 1584, "out", "freeText"),
        ("START", "in", "keyword"),
    ],
)
def test_the_body_says_whether_it_opts_in_or_out(
    body: str, status: str, matched_by: str
) -> None:
    """And how that was read; the evidence keeps the very text."""
    signal = consent(body)
    assert (signal.status, signal.matched_by) == (status, matched_by)
    assert signal.evidence["Body"] == body


@pytest.mark.parametrize("body", ["", "HELP", "hello", "😀", "\0", "x" * 1600])
def test_a_text_that_says_nothing_of_consent_is_no_signal(body: str) -> None:
    """It may be recorded as a text, and changes nothing."""
    assert said(body) is None


def test_a_text_without_a_body_is_no_signal() -> None:
    """A picture alone says nothing."""
    assert parse_text(without("Body"), DEFAULT).signal is None


@pytest.mark.parametrize(
    ("opt_out_type", "body", "expected"),
    [
        ("STOP", "BAJA", ("out", "optOutType")),
        ("START", "STOP", ("in", "optOutType")),
        ("", "STOP", ("out", "keyword")),
    ],
)
def test_opt_out_type_wins_where_twilio_sends_it(
    opt_out_type: str, body: str, expected: tuple[str, str]
) -> None:
    """Twilio has acted on it already."""
    signal = consent(body, OptOutType=opt_out_type)
    assert (signal.status, signal.matched_by) == expected


def test_help_by_opt_out_type_is_no_signal_even_for_a_stop() -> None:
    """The account's own list of words says that this one asks for help."""
    assert said("STOP", OptOutType="HELP") is None


@pytest.mark.parametrize(
    ("address", "number", "channel"),
    [
        ("+14155550100", "+14155550100", "sms"),
        ("whatsapp:+14155550100", "+14155550100", "whatsapp"),
        ("rcs:+14155550100", "+14155550100", "rcs"),
        ("whatsapp:+5215512345678", "+525512345678", "whatsapp"),
        ("32665", "32665", "sms"),
        ("Anonymous", "Anonymous", "sms"),
        ("+266696687", "+266696687", "sms"),
        (" +14155550100\n", "+14155550100", "sms"),
        ("+1\0", "+1\N{REPLACEMENT CHARACTER}", "sms"),
        ("🛑" * ADDRESS_CHARACTERS_MAX, "🛑" * ADDRESS_CHARACTERS_MAX, "sms"),
    ],
)
def test_a_stop_counts_whatever_the_address_looks_like(
    address: str, number: str, channel: str
) -> None:
    """The channel is kept as evidence; the person is the number behind it."""
    signal = consent(From=address)
    assert (signal.phone_number, signal.evidence["channel"]) == (number, channel)
    assert signal.evidence["From"] == address


@pytest.mark.parametrize(
    ("more", "sender"),
    [
        ({}, SENDER),
        ({"MessagingServiceSid": SERVICE}, SERVICE),
        ({"MessagingServiceSid": ""}, SENDER),
        ({"MessagingServiceSid": " "}, SENDER),
        ({"To": "whatsapp:+14155550199"}, "whatsapp:+14155550199"),
        ({"To": "32665"}, "32665"),
        ({"To": ""}, "*"),
    ],
)
def test_the_sender_is_the_service_else_the_address_that_was_texted(
    more: dict[str, str], sender: str
) -> None:
    """Without either, a STOP is for every sender: a doubt is a no."""
    assert consent(**more).sender == sender


def test_an_opt_in_to_nobody_is_refused() -> None:
    """A consent that names no sender would be one for all of them."""
    with pytest.raises(UnusableText, match="opt-in"):
        said("START", To="")


@pytest.mark.parametrize(
    ("to", "body", "more", "undoes_out"),
    [
        ("+18005550100", "YES", {}, False),
        ("+18885550100", " yes! ", {}, False),
        ("+18005550100", "START", {}, True),
        ("+18005550100", "UNSTOP", {}, True),
        ("+14155550199", "YES", {}, True),
        ("+18005550100", "YES", {"OptOutType": "START"}, True),
        ("+18005550100", "YES", {"MessagingServiceSid": SERVICE}, False),
    ],
)
def test_a_yes_to_a_toll_free_number_undoes_no_stop(
    to: str, body: str, more: dict[str, str], *, undoes_out: bool
) -> None:
    """The carrier goes on blocking after it; START and UNSTOP it understands."""
    assert consent(body, To=to, **more).undoes_out is undoes_out


@pytest.mark.parametrize(
    "missing",
    [
        ("MessageSid",),
        ("MessageSid", "SmsMessageSid"),
        ("MessageSid", "SmsSid"),
        ("SmsMessageSid", "SmsSid"),
    ],
)
def test_the_older_names_of_the_message_sid_name_the_same_message(
    missing: tuple[str, ...],
) -> None:
    """So a retry that lacks one of them is still a duplicate."""
    form = without(*missing, MessageSid="SM1", SmsMessageSid="SM1", SmsSid="SM1")
    assert parse_text(form, DEFAULT).key == f"twilio:{ACCOUNT_SID}:SM1"


@pytest.mark.parametrize(
    "form",
    [
        without("From"),
        without(From=""),
        without(From=" \n"),
        without("MessageSid", "SmsMessageSid", "SmsSid"),
        without(MessageSid="", SmsMessageSid="", SmsSid=""),
        [],
    ],
)
def test_a_text_of_nobody_or_without_a_name_is_unusable(
    form: list[tuple[str, str]],
) -> None:
    """It could be neither recorded for someone nor recognised when it is repeated."""
    with pytest.raises(UnusableText, match="From and MessageSid"):
        parse_text(form, DEFAULT)


@pytest.mark.parametrize("name", ["From", "To", "MessagingServiceSid"])
def test_an_address_that_no_index_could_hold_is_refused(name: str) -> None:
    """It would stop a projection later."""
    at_most = "x" * ADDRESS_CHARACTERS_MAX
    assert consent(**{name: at_most}).evidence[name] == at_most
    with pytest.raises(UnusableText, match=name):
        said(**{name: at_most + "x"})


def test_a_message_sid_that_no_index_could_hold_is_refused() -> None:
    """It is a primary key: a longer one than an index row may be is a 500 later."""
    with pytest.raises(UnusableText):
        said(MessageSid="SM" + "x" * 10_000)


def test_of_repeated_parameters_the_first_counts_and_all_are_evidence() -> None:
    """Nothing that was signed is lost."""
    form = [*text_form("STOP").items(), ("Body", "START"), ("From", "+1"), ("a", "")]
    signal = parse_text([*form, ("a", ""), ("a", "2")], DEFAULT).signal
    assert signal is not None
    assert (signal.status, signal.phone_number) == ("out", NUMBER)
    assert signal.evidence["Body"] == ["STOP", "START"]
    assert signal.evidence["From"] == [NUMBER, "+1"]
    assert signal.evidence["a"] == ["", "", "2"]


def test_a_nul_in_a_sid_is_made_harmless() -> None:
    """PostgreSQL's text has no NUL, and a STOP is not refused for one."""
    signal = consent(MessageSid="SM\0", To="+1\0")
    assert signal.key.endswith(":SM\N{REPLACEMENT CHARACTER}")
    assert signal.sender == "+1\N{REPLACEMENT CHARACTER}"
    assert signal.evidence["MessageSid"] == "SM\0"


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"", []),
        (b"a=1&b=&c&=d", [("a", "1"), ("b", ""), ("c", ""), ("", "d")]),
        (b"a=1&a=2&a=1", [("a", "1"), ("a", "2"), ("a", "1")]),
        (b"&&a=1&", [("a", "1")]),
        (b"Body=STOP+NOW%21&x=%2B1", [("Body", "STOP NOW!"), ("x", "+1")]),
        (b"a+b=c%3Dd=e", [("a b", "c=d=e")]),
        (b"a=%00&b=%", [("a", "\0"), ("b", "%")]),
        (b"a=%F0%9F%9B%91", [("a", "🛑")]),
        (b"a=\xff&b=%FF", [("a", "\ufffd"), ("b", "\ufffd")]),
        (b"a=%ED%A0%80", [("a", "\ufffd\ufffd\ufffd")]),
        ("a=1;b=2", [("a", "1;b=2")]),
    ],
)
def test_a_form_is_read_in_order_with_repeated_and_blank_fields(
    body: bytes | str, fields: list[tuple[str, str]]
) -> None:
    """As urllib does it with keep_blank_values; what is not UTF-8 is replaced."""
    assert parse_form(body) == fields


def test_twilios_own_form_comes_back_as_it_was() -> None:
    """Encoding and parsing a text changes none of its fields."""
    form = text_form("Stop! 🛑 100% a+b=c&d\r\n")
    assert parse_form(urlencode(form)) == list(form.items())
    assert parse_form(urlencode(form).encode()) == list(form.items())


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"{}", []),
        (b'{"Body":"STOP","n":1}', [("Body", "STOP"), ("n", "1")]),
        (b'{"a":null,"b":[1,{"c":"d"}]}', [("a", "null"), ("b", '[1,{"c":"d"}]')]),
        ('{"Body":"\\u0000🛑"}'.encode(), [("Body", "\0🛑")]),
    ],
)
def test_a_json_object_is_read_as_fields(
    body: bytes, fields: list[tuple[str, str]]
) -> None:
    """What is not text stays as JSON."""
    assert parse_json(body) == fields


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'"STOP"',
        b"null",
        b"{",
        b'{"a":"\\ud800"}',
        b"\xff",
        b'{"a":' + b"[" * 600 + b"]" * 600 + b"}",
        b'{"a":' + b"[" * 60_000 + b"]" * 60_000 + b"}",
    ],
    ids=range(9),
)
def test_what_is_not_a_json_object_is_refused(body: bytes) -> None:
    """The caller is told what to change."""
    with pytest.raises(InvalidRequest, match="the body is"):
        parse_json(body)


def test_the_first_value_of_a_parameter_is_found() -> None:
    """Or an empty string."""
    fields: list[Any] = [("a", "1"), ("a", "2")]
    assert (first(fields, "a"), first(fields, "b")) == ("1", "")
