"""Which texts get a reply."""

from typing import Final

import pytest

from ledger.domain.classify import Classification, Vocabulary, classify
from ledger.domain.ids import Answer
from ledger.domain.replies import (
    ReplyTexts,
    configured_reply,
    kind_of,
    twilio_answers,
)

TEXTS: Final = ReplyTexts(stop="bye", start="hi", help="it is us", to_free_text=True)
QUIET: Final = ReplyTexts(stop="bye")
LONG_CODE: Final = "+14155550199"
SHORT_CODE: Final = "71234"
SERVICE: Final = f"MG{'5' * 32}"


def said(body: str, opt_out_type: str = "") -> Classification:
    """What a text says."""
    return classify(body, opt_out_type, Vocabulary())


@pytest.mark.parametrize(
    ("body", "before", "reply"),
    [
        ("STOP", "in", "bye"),
        ("STOP", "unknown", "bye"),
        ("STOP", "out", None),
        ("please stop texting me", "in", "bye"),
        ("please stop texting me", "out", None),
        ("START", "out", "hi"),
        ("START", "unknown", "hi"),
        ("START", "in", None),
        ("HELP", "in", "it is us"),
        ("HELP", "unknown", "it is us"),
        ("HELP", "out", None),
        ("What time do you open?", "in", None),
    ],
)
def test_a_change_is_confirmed_once(
    body: str, before: Answer, reply: str | None
) -> None:
    """Whoever was out already hears no more of it; other texts get no reply."""
    assert configured_reply(TEXTS, said(body), before) == reply


@pytest.mark.parametrize("body", ["START", "HELP", "please stop texting me"])
def test_what_is_not_set_is_not_said(body: str) -> None:
    """Each text is its own setting, and free text has one of its own too."""
    assert configured_reply(QUIET, said(body), "unknown") is None
    assert configured_reply(QUIET, said("STOP"), "unknown") == "bye"
    assert ReplyTexts(to_free_text=True).are_none
    assert not QUIET.are_none


@pytest.mark.parametrize(
    ("to", "service_sid", "opt_out_type", "keyword", "free_text"),
    [
        (SHORT_CODE, "", "", False, False),
        (SHORT_CODE, SERVICE, "", True, False),
        (SHORT_CODE, "", "STOP", True, True),
        (LONG_CODE, "", "", True, False),
        (LONG_CODE, SERVICE, "", True, False),
        (LONG_CODE, SERVICE, "STOP", True, True),
        ("+18005550199", "", "", True, False),
        ("whatsapp:+14155550199", "", "", True, False),
        ("", "", "", True, False),
    ],
)
def test_twilio_answers_keywords_but_for_standalone_short_codes(
    to: str, service_sid: str, opt_out_type: str, *, keyword: bool, free_text: bool
) -> None:
    """With OptOutType it has answered already; of free text it understands nothing."""
    for body, expected in (("STOP", keyword), ("please stop texting me", free_text)):
        meaning = said(body)
        assert (
            twilio_answers(
                meaning, to=to, service_sid=service_sid, opt_out_type=opt_out_type
            )
            is expected
        )


def test_each_meaning_has_its_kind_of_reply() -> None:
    """What says nothing of consent is for a handler alone."""
    bodies = ("STOP", "START", "HELP", "please stop texting me", "hello")
    kinds = ["stop", "start", "help", "stop", "handler"]
    assert [kind_of(said(body)) for body in bodies] == kinds
