"""Who is called for a text, what to change, and what loses a STOP: pure."""

from dataclasses import replace
from typing import Any, Final

import pytest

from ledger.errors import ConfigurationError
from ledger.settings import Settings
from ledger.twilio import leaks as leak
from ledger.twilio.connect import addresses
from ledger.twilio.leaks import leaks
from ledger.twilio.receivers import (
    FALLBACK_PATH,
    FIELDS,
    INBOUND_PATH,
    Addresses,
    Kind,
    Receiver,
    changes,
    leads,
    shown,
    target,
)
from ledger.webhook.routes import PATHS

PUBLIC_URL: Final = "https://sms.example.com"
HERE: Final = f"{PUBLIC_URL}/optInStatus#rc=3&rp=all"
FALLBACK: Final = f"{PUBLIC_URL}/twilio/incoming-message#rc=3&rp=all"
ELSEWHERE: Final = "https://other.example/sms"
WANTED: Final = Addresses(PUBLIC_URL)


def receiver(
    kind: Kind = "number", name: str = "+14155550199", **more: Any
) -> Receiver:
    """A receiver whose fields are empty but for those given."""
    fields = dict.fromkeys(FIELDS[kind], "") | more
    return Receiver(kind, "PN1", name, fields)


def here(**more: Any) -> Receiver:
    """A number that is set up as ``connect`` does it."""
    return receiver(sms_url=HERE, sms_fallback_url=FALLBACK, **more)


def test_the_paths_are_the_webhooks() -> None:
    """What is set at Twilio is what the webhook serves."""
    assert (INBOUND_PATH, FALLBACK_PATH) == PATHS


@pytest.mark.parametrize("kind", ["number", "short code", "service"])
def test_what_was_changed_needs_no_change(kind: Kind) -> None:
    """After the changes were made there are none left to make."""
    before = receiver(kind)
    to_set = changes(before, WANTED)
    assert to_set
    after = replace(before, fields={**before.fields, **to_set})
    assert changes(after, WANTED) == {}


def test_a_number_with_an_application_is_freed_of_it() -> None:
    """Twilio ignores a number's URL while it has an application."""
    assert changes(
        here(sms_method="POST", sms_fallback_method="POST", sms_application_sid="AP1"),
        WANTED,
    ) == {"sms_application_sid": ""}


def test_a_fallback_of_others_is_left_alone_unless_one_is_given() -> None:
    """Only a missing one is filled in; one that is given replaces any."""
    before = receiver(sms_fallback_url=ELSEWHERE)
    assert "sms_fallback_url" not in changes(before, WANTED)
    other = Addresses(PUBLIC_URL, fallback_url=f"{HERE}2")
    assert changes(before, other)["sms_fallback_url"] == f"{HERE}2"


def test_a_services_own_url_is_called_and_its_status_callback_kept() -> None:
    """A service is told not to defer; a missing status callback is filled in.

    One that is there changes only when another is given.
    """
    before = receiver("service", use_inbound_webhook_on_number=True)
    assert changes(before, WANTED)["use_inbound_webhook_on_number"] is False
    ours = f"{PUBLIC_URL}/twilio/message-status"
    assert changes(before, WANTED)["status_callback"] == ours
    before = receiver("service", status_callback=f"{ELSEWHERE}/status")
    assert "status_callback" not in changes(before, WANTED)
    wanted = Addresses(PUBLIC_URL, status_callback=ELSEWHERE)
    assert changes(before, wanted)["status_callback"] == ELSEWHERE


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("", "nowhere"),
        (HERE, "here"),
        (FALLBACK, "here"),
        (f"{PUBLIC_URL}:443/optInStatus", "here"),
        ("https://user:secret@SMS.example.com/optInStatus", "here"),
        ("http://sms.example.com/optInStatus", "elsewhere"),
        (f"{PUBLIC_URL}:8443/optInStatus", "elsewhere"),
        (f"{PUBLIC_URL}/optInStatus?x=1", "elsewhere"),
        (f"{PUBLIC_URL}/", "elsewhere"),
        (f"{PUBLIC_URL}:port/optInStatus", "elsewhere"),
        ("http://[", "elsewhere"),
    ],
)
def test_a_url_is_ours_by_scheme_host_port_and_path(url: str, expected: str) -> None:
    """Credentials, the fragment and a default port make no difference."""
    assert leads(url, PUBLIC_URL) == expected


def test_whose_url_is_called_depends_on_the_service() -> None:
    """A number's URL counts outside of services, and in one that defers to it."""
    deferring = receiver("service", use_inbound_webhook_on_number=True)
    own = receiver("service", inbound_request_url=ELSEWHERE)
    assert target(here(), None, PUBLIC_URL) == "here"
    assert target(here(), own, PUBLIC_URL) == "elsewhere"
    assert target(here(), deferring, PUBLIC_URL) == "here"
    assert target(receiver(), deferring, PUBLIC_URL) == "nowhere"
    assert target(here(sms_application_sid="AP1"), None, PUBLIC_URL) == "application"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (here(), []),
        (receiver(), [leak.NOWHERE]),
        (receiver(sms_url=ELSEWHERE), [leak.ELSEWHERE]),
        (here(sms_application_sid="AP1"), [leak.APPLICATION]),
        (receiver(sms_url=HERE), [leak.NO_FALLBACK]),
        (
            receiver(sms_url=HERE, sms_fallback_url=ELSEWHERE),
            [leak.FALLBACK_ELSEWHERE],
        ),
        (
            receiver(sms_url=f"{PUBLIC_URL}/optInStatus", sms_fallback_url=FALLBACK),
            [leak.UNREPEATED],
        ),
        (
            receiver(
                sms_url=f"{PUBLIC_URL}/optInStatus#rc=0&rp=all",
                sms_fallback_url=FALLBACK,
            ),
            [leak.UNREPEATED],
        ),
        (
            receiver(
                sms_url=f"{PUBLIC_URL}/optInStatus#rp=5xx,rt",
                sms_fallback_url=FALLBACK,
            ),
            [],
        ),
        (
            receiver(name="+18005550199", sms_url=HERE, sms_fallback_url=FALLBACK),
            [leak.TOLL_FREE],
        ),
        (receiver("service"), [leak.SERVICE_NOWHERE, leak.ADVANCED_OPT_OUT]),
        (
            receiver("service", use_inbound_webhook_on_number=True),
            [leak.DEFERS, leak.ADVANCED_OPT_OUT],
        ),
        (receiver("short code", "71234"), [leak.NOWHERE, leak.SHORT_CODE_ALONE]),
    ],
)
def test_what_loses_a_stop_is_named(given: Receiver, expected: list[leak.Leak]) -> None:
    """Each way of losing one has its sentence, and a good receiver has none."""
    assert list(leaks(given, None, PUBLIC_URL)) == expected


def test_of_a_number_in_a_service_only_what_is_its_own_is_said() -> None:
    """Where its texts go is said of the service, once."""
    home = receiver("service")
    assert list(leaks(receiver(), home, PUBLIC_URL)) == []
    assert list(leaks(receiver("short code", "71234"), home, PUBLIC_URL)) == []


def test_a_password_in_a_url_is_not_shown() -> None:
    """The rest of the URL is; so are truth values, as Twilio writes them."""
    assert shown("https://user:secret@a.example/x#y") == "https://…@a.example/x#y"
    assert shown(value=True) == "true"


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:8080", "https://localhost", "http://[::1]", "http://0.0.0.0"],
)
def test_a_url_of_this_machine_is_not_given_to_twilio(url: str) -> None:
    """It says which, and not that none is set; a stand-in may be given it."""
    given = {"PUBLIC_URL": url}
    with pytest.raises(ConfigurationError, match="leads to"):
        addresses(Settings.from_mapping(given), None, None)
    given["LEDGER_TWILIO_API_URL"] = "http://127.0.0.1:9"
    assert addresses(Settings.from_mapping(given), None, None).public_url == url
    with pytest.raises(ConfigurationError, match="must be set"):
        addresses(Settings.from_mapping({}), None, None)
