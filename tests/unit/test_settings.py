"""Every knob: what may be left out, what is refused, what is never shown."""

import json

import pytest
from builders import ACCOUNT_SID, AUTH_TOKEN

from ledger.development import with_development_secrets
from ledger.domain.classify import classify
from ledger.errors import ConfigurationError
from ledger.setting_values import mail_server
from ledger.settings import Settings

DATABASE = {
    "DATABASE_URL": "postgresql://ledger@db/ledger",
    "TWILIO_ACCOUNT_SID": ACCOUNT_SID,
    "TWILIO_AUTH_TOKEN": AUTH_TOKEN,
}


def read(**environment: str) -> Settings:
    """The settings of an environment."""
    return Settings.from_mapping(environment)


def test_nothing_needs_to_be_set() -> None:
    """Without DATABASE_URL the service keeps its own PostgreSQL."""
    settings = read()
    assert settings.is_embedded
    assert settings.signed_url == "http://127.0.0.1:8080"
    assert settings.twilio_tokens() == {}
    assert (settings.batch_max, settings.queue_max) == (256, 5000)


def test_what_is_not_ours_is_left_alone() -> None:
    """PATH and the like are no settings; an empty value is none either."""
    assert read(PATH="/bin", HOME="/root", DATABASE_URL="", LEDGER_PORT="") == read()


def test_a_misspelt_setting_is_refused_by_name() -> None:
    """A typing error does not leave a default in force unseen."""
    with pytest.raises(ConfigurationError, match="LEDGER_BACH_MAX"):
        read(LEDGER_BACH_MAX="10")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LEDGER_PORT", "http"),
        ("LEDGER_PORT", "65536"),
        ("LEDGER_WORKERS", "0"),
        ("LEDGER_BATCH_MAX", "0"),
        ("LEDGER_QUEUE_MAX", "0"),
        ("LEDGER_APPEND_TIMEOUT_SECONDS", "0"),
        ("LEDGER_APPEND_TIMEOUT_SECONDS", "nan"),
        ("LEDGER_POLL_SECONDS", "-1"),
        ("LEDGER_CONNECTIONS_MAX", "1"),
        ("LEDGER_LOG_LEVEL", "loud"),
        ("LEDGER_FREE_TEXT", "perhaps"),
        ("LEDGER_TWILIO_SUBACCOUNTS", "{"),
        ("LEDGER_TWILIO_SUBACCOUNTS", "[]"),
        ("LEDGER_NOTIFY_URL", "ftp://example.org"),
        ("LEDGER_NOTIFY_URL", "https://user:password@example.org"),
        ("LEDGER_NOTIFY_SECRET", "whsec_c2hvcnQ="),
        ("LEDGER_NOTIFY_SECRET", "%"),
        ("LEDGER_NOTIFY_EMAIL", "nobody"),
        ("LEDGER_NOTIFY_EMAIL", "a@example.org, b"),
        ("LEDGER_NOTIFY_EMAIL_FROM", "Ledger <a@example.org>"),
        ("LEDGER_SMTP_URL", "mail.example.org"),
        ("LEDGER_SMTP_URL", "smtp://mail.example.org:port"),
        ("LEDGER_NOTIFY_SECONDS_MAX", "0"),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_name(name: str, value: str) -> None:
    """The operator is told which one."""
    with pytest.raises(ConfigurationError, match=name):
        read(**{name: value})


@pytest.mark.parametrize("missing", ["TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"])
@pytest.mark.parametrize("value", [None, ""])
def test_with_a_database_nothing_is_made_up(missing: str, value: str | None) -> None:
    """A service that refuses every text does not start."""
    environment = {**DATABASE, missing: value}
    given = {n: v for n, v in environment.items() if v is not None}
    with pytest.raises(ConfigurationError, match=missing):
        with_development_secrets(Settings.from_mapping(given))


def test_with_a_database_and_an_account_it_starts() -> None:
    """Two more names are all that production needs."""
    settings = Settings.from_mapping(DATABASE)
    assert not settings.is_embedded
    assert settings.twilio_tokens() == {ACCOUNT_SID: [AUTH_TOKEN]}


def test_two_tokens_are_given_while_one_is_being_rotated() -> None:
    """Blanks around the comma do not belong to a token."""
    settings = read(TWILIO_ACCOUNT_SID=ACCOUNT_SID, TWILIO_AUTH_TOKEN="old , new")
    assert settings.twilio_tokens() == {ACCOUNT_SID: ["old", "new"]}


def test_a_subaccount_has_its_own_token() -> None:
    """And the main account keeps its own."""
    subaccount = f"AC{'b' * 32}"
    settings = read(
        TWILIO_ACCOUNT_SID=ACCOUNT_SID,
        TWILIO_AUTH_TOKEN=AUTH_TOKEN,
        LEDGER_TWILIO_SUBACCOUNTS=json.dumps({subaccount: "one,two"}),
    )
    assert settings.twilio_tokens() == {
        subaccount: ["one", "two"],
        ACCOUNT_SID: [AUTH_TOKEN],
    }


@pytest.mark.parametrize("token", ["token,", ",token", "token, ,other"])
def test_an_empty_token_is_never_one_to_sign_with(token: str) -> None:
    """A comma too many does not let everyone sign."""
    given = {**DATABASE, "TWILIO_AUTH_TOKEN": token}
    tokens = Settings.from_mapping(given).twilio_tokens()[ACCOUNT_SID]
    assert tokens == [part for part in ("token", "other") if part in token]


@pytest.mark.parametrize(
    "given",
    [
        {"TWILIO_AUTH_TOKEN": " "},
        {"TWILIO_AUTH_TOKEN": " , "},
        {"LEDGER_TWILIO_SUBACCOUNTS": '{"ACsub": ""}'},
        {"LEDGER_TWILIO_SUBACCOUNTS": '{"ACsub": ","}'},
    ],
)
def test_an_account_without_a_token_is_refused(given: dict[str, str]) -> None:
    """It could have its texts signed by anyone or by no one."""
    with pytest.raises(ConfigurationError, match=r"auth token of AC.* is empty"):
        Settings.from_mapping({**DATABASE, **given})


@pytest.mark.parametrize(
    ("given", "signed"),
    [
        ("https://sms.example.com", "https://sms.example.com"),
        ("https://sms.example.com/", "https://sms.example.com"),
        ("https://sms.example.com:8443", "https://sms.example.com:8443"),
    ],
)
def test_the_signed_url_has_no_slash_at_its_end(given: str, signed: str) -> None:
    """The path that is put after it begins with one."""
    assert read(PUBLIC_URL=given).signed_url == signed


def test_the_signed_url_follows_the_port() -> None:
    """What is printed at the start can be called as it stands."""
    assert read(LEDGER_PORT="9000").signed_url == "http://127.0.0.1:9000"


def test_words_are_added_by_configuration() -> None:
    """Comma-separated, in any spelling, beside the built-in ones."""
    vocabulary = read(
        LEDGER_OUT_WORDS="BAJA, Darse de baja,",
        LEDGER_IN_WORDS="alta",
        LEDGER_HELP_WORDS="ayuda",
        LEDGER_OUT_PHRASES="no quiero mas, ,",
    ).vocabulary()
    expected = {
        "baja": "out",
        "darse de baja": "out",
        "ALTA": "in",
        "Ayuda!": "help",
        "ya no quiero más": "out",
        "STOP": "out",
        "hola": None,
    }
    meanings = {body: classify(body, None, vocabulary).meaning for body in expected}
    assert meanings == expected


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"LEDGER_NOTIFY_URL": "https://example.org"}, "LEDGER_NOTIFY_SECRET"),
        ({"LEDGER_NOTIFY_EMAIL": "a@example.org"}, "LEDGER_SMTP_URL"),
    ],
)
def test_half_of_what_a_notice_needs_is_refused(
    given: dict[str, str], missing: str
) -> None:
    """Nothing is told unsigned, and no e-mail waits for a server."""
    with pytest.raises(ConfigurationError, match=missing):
        read(**given)


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://mail.example.org", ("mail.example.org", 587, False, None, None)),
        ("smtps://u%40x:p%2F@m.org", ("m.org", 465, True, "u@x", "p/")),
        ("smtp://127.0.0.1:25/", ("127.0.0.1", 25, False, None, None)),
    ],
)
def test_a_mail_server_is_what_its_url_says(
    url: str, server: tuple[object, ...]
) -> None:
    """The usual ports, unless it names one; names and passwords may be encoded."""
    assert mail_server(url) == server


def test_free_text_can_be_switched_off() -> None:
    """For those who read such texts themselves."""
    vocabulary = read(LEDGER_FREE_TEXT="false").vocabulary()
    assert classify("please stop texting me", None, vocabulary).meaning is None


def test_settings_are_not_changed_once_they_are_read() -> None:
    """Every part of the service sees the same ones."""
    with pytest.raises(ValueError, match="frozen"):
        read().port = 1  # type: ignore[misc]


def test_no_secret_is_ever_shown() -> None:
    """Neither in a repr nor in the message about a wrong value."""
    secret = "do-not-show-this"
    given = {
        "TWILIO_ACCOUNT_SID": ACCOUNT_SID,
        "TWILIO_AUTH_TOKEN": secret,
        "LEDGER_ADMIN_KEY": secret + secret,
        "LEDGER_TWILIO_SUBACCOUNTS": json.dumps({"ACsub": secret}),
        "LEDGER_SMTP_URL": f"smtps://user:{secret}@mail.example.org",
        "LEDGER_NOTIFY_SECRET": secret + secret + secret,
    }
    assert secret not in repr(Settings.from_mapping(given))
    bad = {**given, "LEDGER_TWILIO_SUBACCOUNTS": json.dumps([secret])}
    with pytest.raises(ConfigurationError) as refused:
        Settings.from_mapping(bad)
    assert secret not in str(refused.value)
