"""What a row says, in the words that exports use, and what is not guessed."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from ledger.domain.classify import Vocabulary
from ledger.domain.signals import Signal
from ledger.errors import UnusableFile
from ledger.imports.columns import parse_mapping
from ledger.imports.interpret import Interpreted, Interpreter, Rules, Skipped
from ledger.imports.refusals import RowRefused
from ledger.imports.rows import Row
from ledger.imports.texts import TextInterpreter

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
START, END = "2024-03-01T00:00:00+00:00", "2024-03-01T23:59:59.999999+00:00"


def rules(**more: Any) -> Rules:
    """Rules for a file of a CRM."""
    given: dict[str, Any] = {"source": "crm", "file": "a.csv", "actor": "cli:ann"}
    return Rules(now=lambda: NOW, **(given | more))


def interpret(fields: Mapping[str, object], **more: Any) -> Interpreted:
    """What a row of CSV says."""
    names = tuple(fields)
    return Interpreter(rules(**more), names).interpret(Row(2, dict(fields), b""))


def signal_of(fields: Mapping[str, object], **more: Any) -> Signal:
    """The signal that a row is."""
    said = interpret(fields, **more)
    assert isinstance(said, Signal)
    return said


def row(**more: str) -> dict[str, object]:
    """An opt-out; a field's own name is read whatever else there is."""
    given = {"phoneNumber": "+14155550100", "status": "out", "occurredAt": "2024-03-01"}
    return {**given, **more}


def test_a_row_is_a_signal_with_its_origin() -> None:
    """What is no field is evidence, and where it came from is, too."""
    signal = signal_of(row(plan="gold", note="", key="7"))
    assert signal == Signal(
        key="import:crm:7",
        phone_number=signal.phone_number,
        sender=signal.sender,
        status="out",
        occurred_at=datetime.fromisoformat(END),
        source="import",
        matched_by="explicit",
        actor="cli:ann",
        evidence={
            "plan": "gold",
            "import": {"source": "crm", "file": "a.csv", "line": 2},
        },
    )
    assert (signal.phone_number, signal.sender) == ("+14155550100", "*")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        *((word, "out") for word in ("out", "OPTED-OUT", "Unsubscribed", "STOP")),
        *((word, "in") for word in ("in", "opted_in", "Subscribed", "opt in", "START")),
    ],
)
def test_a_status_is_read_in_common_spellings(status: str, expected: str) -> None:
    """Whatever case and dashes it has."""
    assert signal_of(row(status=status)).status == expected


def test_yes_and_no_mean_what_the_command_line_says() -> None:
    """A column's name may ask for one or for the other."""
    assert signal_of(row(status="TRUE"), true_means="out").status == "out"
    assert signal_of(row(status="0"), false_means="in").status == "in"


@pytest.mark.parametrize(
    ("time", "status", "expected"),
    [
        ("2024-03-01T10:00:00Z", "out", "2024-03-01T10:00:00+00:00"),
        ("2024-03-01 10:00:00+02:00", "out", "2024-03-01T08:00:00+00:00"),
        ("2024-03-01 10:00:00 UTC", "out", "2024-03-01T10:00:00+00:00"),
        ("Fri, 01 Mar 2024 10:00:00 +0000", "in", "2024-03-01T10:00:00+00:00"),
        ("2024-03-01", "in", START),
        ("2024-03-01", "out", END),
        ("2026-06-15", "out", None),
    ],
)
def test_a_time_is_an_instant_or_a_day(
    time: str, status: str, expected: str | None
) -> None:
    """Of a day without a time an opt-out is the end, and an opt-in the beginning."""
    occurred_at = signal_of(row(occurredAt=time, status=status)).occurred_at
    assert occurred_at == (expected and datetime.fromisoformat(expected))


REFUSED: dict[str, tuple[dict[str, str], str]] = {
    "no number": ({"phoneNumber": ""}, "missing_phone_number"),
    "a national number": ({"phoneNumber": "(415) 555-0100"}, "invalid_phone_number"),
    "no plus": ({"phoneNumber": "14155550100"}, "invalid_phone_number"),
    "a number from Excel": ({"phoneNumber": "1.41556E+10"}, "invalid_phone_number"),
    "no status": ({"status": ""}, "missing_status"),
    "another status": ({"status": "maybe"}, "unknown_status"),
    "yes, of nobody knows what": ({"status": "yes"}, "unknown_status"),
    "itself as the sender": ({"sender": "+14155550100"}, "invalid_sender"),
    "a long sender": ({"sender": "x" * 257}, "invalid_sender"),
    "an American date": ({"occurredAt": "03/04/2024"}, "invalid_time"),
    "no such day": ({"occurredAt": "2024-02-30"}, "invalid_time"),
    "seconds since 1970": ({"occurredAt": "1709287200"}, "invalid_time"),
    "no zone": ({"occurredAt": "2024-03-01T10:00:00"}, "time_without_zone"),
    "long ago": ({"occurredAt": "1969-12-31T23:59:59Z"}, "time_before_1970"),
    "too long ago": ({"occurredAt": "0001-01-01T00:00:00+10:00"}, "invalid_time"),
    "in, but when": ({"status": "in", "occurredAt": ""}, "missing_time"),
    "a key with a tab": ({"key": "a\tb"}, "invalid_key"),
    "evidence that is a list": ({"evidence": "[1]"}, "invalid_evidence"),
    "evidence that is no JSON": ({"evidence": "x"}, "invalid_evidence"),
    "evidence in the stored form": ({"evidence": '{"_type_":1}'}, "invalid_evidence"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_sure_is_refused(name: str) -> None:
    """With a code, and a reason that does not show the number."""
    more, code = REFUSED[name]
    with pytest.raises(RowRefused) as refused:
        interpret(row(**more))
    assert refused.value.code == code
    assert "555" not in refused.value.reason


def test_an_opt_out_without_a_time_is_when_it_is_recorded() -> None:
    """An opt-in needs one, which the command line may give for all rows."""
    assert signal_of(row(occurredAt="")).occurred_at is None
    signal = signal_of(row(status="in", occurredAt=""), occurred_at="2024-03-01")
    assert signal.occurred_at == datetime.fromisoformat(START)


def test_the_same_row_has_the_same_key_and_no_other_row_has() -> None:
    """Wherever it stands, and unless the command line says another thing of it."""
    keys = [
        signal_of(row(plan="a")).key,
        signal_of(row(plan="b")).key,
        signal_of(row(plan="a"), sender="MG1").key,
        signal_of(row(plan="a"), status="in").key,
        signal_of(row(plan="a"), source="other").key,
    ]
    assert len(set(keys)) == len(keys)
    other_order = dict(reversed(row(plan="a").items()))
    assert signal_of(other_order).key == keys[0]


def test_columns_are_found_by_their_names() -> None:
    """In the spellings of exports, or as the command line says."""
    fields = {"Mobile Phone": "+14155550100", "SMS Consent": "out", "Sid": "SM1"}
    signal = signal_of(fields)
    assert (signal.phone_number, signal.key) == ("+14155550100", "import:crm:SM1")
    text = {"From": "+14155550100", "To": "+14155550199", "Status": "out"}
    assert signal_of(text).sender == "+14155550199"
    mapped = signal_of(
        {"Phone": "x", "Cell": "+14155550100", "Out?": "yes"},
        columns=parse_mapping(["phoneNumber=Cell", "status=Out?"]),
        true_means="out",
    )
    assert mapped.evidence["Phone"] == "x"


UNUSABLE: dict[str, tuple[tuple[str, ...], dict[str, object]]] = {
    "no number": (("status", "x"), {}),
    "no status": (("phone", "x"), {}),
    "two numbers": (("phone", "mobile", "status"), {}),
    "a lost column": (("phone", "status"), {"columns": {"key": "id"}}),
    "evidence like the stored form": (("phone", "status", "_id"), {}),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_header_that_would_refuse_each_row_is_refused(name: str) -> None:
    """It says what is missing, and how to say it."""
    names, more = UNUSABLE[name]
    with pytest.raises(UnusableFile):
        Interpreter(rules(**more), names)


def test_a_list_of_numbers_needs_no_status() -> None:
    """And a column that is not wanted is left out."""
    fields: dict[str, object] = {"phone": "+14155550100", "_id": "1", "status": "sent"}
    signal = signal_of(fields, status="out", without=frozenset({"_id"}))
    assert (signal.status, signal.evidence["status"]) == ("out", "sent")
    assert "_id" not in signal.evidence


def own(**more: object) -> dict[str, object]:
    """A record of an export of a ledger."""
    return {
        "position": 5,
        "kind": "ConsentChanged",
        "subjectId": "s",
        "version": 1,
        "occurredAt": "2024-03-01T10:00:00.5+00:00",
        "recordedAt": "2024-03-02T10:00:00+00:00",
        "status": "in",
        "sender": "MG1",
        "source": "api",
        "phoneNumber": "12345",
        "evidence": {"form": "/join", "import": {"line": 1}},
        "destroyed": [],
        **more,
    }


def test_a_record_of_an_export_keeps_its_time_and_its_evidence() -> None:
    """Under its position, with all that the other ledger said of it."""
    names = None
    said = Interpreter(rules(), names).interpret(Row(9, own(), b""))
    assert isinstance(said, Signal)
    assert (said.key, said.phone_number, said.sender) == (
        "import:crm:5",
        "12345",
        "MG1",
    )
    assert said.occurred_at == datetime(2024, 3, 1, 10, 0, 0, 500_000, UTC)
    assert said.evidence["form"] == "/join"
    origin = said.evidence["import"]
    assert isinstance(origin, dict)
    assert origin["before"] == {"line": 1}
    assert origin["row"]["recordedAt"] == "2024-03-02T10:00:00+00:00"
    assert origin["row"]["source"] == "api"


def test_records_of_an_export_without_consent_are_passed_over() -> None:
    """Other events, and numbers that were erased, are no errors."""
    reader = Interpreter(rules(), None)
    erased = own(phoneNumber=None, evidence=None, destroyed=["phoneNumber"])
    assert reader.interpret(Row(1, erased, b"")) == Skipped("destroyed")
    held = own(kind="HoldPlaced")
    assert reader.interpret(Row(2, held, b"")) == Skipped("otherEvent")
    row = own(phoneNumber="", evidence="", destroyed='["phoneNumber","evidence"]')
    csv = Interpreter(rules(), tuple(row))
    assert csv.interpret(Row(3, row, b"")) == Skipped("destroyed")


@pytest.mark.parametrize("destroyed", [None, [], ["evidence"], "", "[", "{}"])
def test_a_record_whose_number_was_left_out_is_refused(destroyed: object) -> None:
    """An export without what is personal loses no opt-out in silence."""
    row = own(phoneNumber=None, destroyed=destroyed)
    if destroyed is None:
        del row["phoneNumber"], row["evidence"], row["destroyed"]
    with pytest.raises(RowRefused) as refused:
        Interpreter(rules(), None).interpret(Row(1, row, b""))
    assert refused.value.code == "missing_phone_number"


def text_row(**more: str) -> dict[str, object]:
    """A row of Twilio's log of messages."""
    return {
        "From": "+14155550100",
        "To": "+14155550199",
        "Body": "Stop",
        "Status": "received",
        "SentDate": "2024-03-01T10:00:00Z",
        "AccountSid": "AC1",
        "Sid": "SM1",
        "Direction": "inbound",
        **more,
    }


def test_a_text_of_a_log_is_what_the_webhook_would_have_made_of_it() -> None:
    """Under the same key, and at the time of the log."""
    fields = text_row()
    reader = TextInterpreter(rules(), Vocabulary(), tuple(fields))
    said = reader.interpret(Row(2, fields, b""))
    assert isinstance(said, Signal)
    assert (said.key, said.status) == ("twilio:AC1:SM1", "out")
    assert (said.source, said.matched_by) == ("twilio.import", "keyword")
    assert said.occurred_at == datetime(2024, 3, 1, 10, tzinfo=UTC)
    for more, why in (
        ({"Direction": "outbound-api"}, "otherDirection"),
        ({"Body": "see you"}, "saysNothing"),
    ):
        assert reader.interpret(Row(2, text_row(**more), b"")) == Skipped(why)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"Sid": ""}, "unusable_text"),
        ({"SentDate": "yesterday"}, "invalid_time"),
        ({"Body": "START", "SentDate": ""}, "missing_time"),
        ({"_x": "1"}, "invalid_evidence"),
    ],
)
def test_a_text_that_cannot_be_recorded_is_refused(
    more: dict[str, str], code: str
) -> None:
    """It says something of consent, and may not be lost."""
    fields = text_row(**more)
    reader = TextInterpreter(rules(), Vocabulary(), tuple(fields))
    with pytest.raises(RowRefused) as refused:
        reader.interpret(Row(2, fields, b""))
    assert refused.value.code == code


def test_a_log_of_texts_has_texts() -> None:
    """Else it is another file."""
    with pytest.raises(UnusableFile):
        TextInterpreter(rules(), Vocabulary(), ("From", "To"))
