"""Every knob, documented where it is declared; built once, from a mapping.

Nothing else reads the environment. The subtle part is what may be left out: without
``DATABASE_URL`` the service keeps house in ``LEDGER_DATA_DIR`` and makes what it needs;
with it, nothing is made up, and whoever needs a secret that is missing refuses.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, Json, SecretStr, ValidationError

from ledger.domain.classify import Vocabulary
from ledger.domain.replies import ReplyTexts
from ledger.errors import ConfigurationError
from ledger.setting_values import (
    Handlers,
    MailAddress,
    MailAddresses,
    MailUrl,
    Reply,
    SigningSecrets,
    Words,
)


class Settings(BaseModel):
    """What an operator may set; the environment variable is each field's alias."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    database_url: str | None = Field(None, alias="DATABASE_URL")
    """PostgreSQL 15 or newer. Default: none, and an embedded PostgreSQL 18 is started
    in LEDGER_DATA_DIR."""

    public_url: str | None = Field(
        None, alias="PUBLIC_URL", pattern=r"^https?://[^/\s?#]+[^\s?#]*$"
    )
    """Scheme, host and port under which Twilio calls us, e.g. https://sms.example.com.
    Signatures are checked over it: if it is wrong, every text is refused with 403.
    Default: http://127.0.0.1:LEDGER_PORT."""

    twilio_account_sid: str | None = Field(None, alias="TWILIO_ACCOUNT_SID")
    """The account whose texts are accepted. Default with the embedded PostgreSQL: a
    development account; with DATABASE_URL it is needed."""

    twilio_auth_token: SecretStr | None = Field(None, alias="TWILIO_AUTH_TOKEN")
    """Its auth token; two, comma-separated, while rotating. Default with the embedded
    PostgreSQL: a development token; with DATABASE_URL it is needed. Who has it can
    forge texts."""

    twilio_subaccounts: Annotated[
        Json[dict[str, SecretStr]], Field(alias="LEDGER_TWILIO_SUBACCOUNTS")
    ] = Field(default_factory=dict)
    """Further accounts as JSON, {"AC…": "token"}, since Twilio signs a subaccount's
    requests with the subaccount's own token. Default: none."""

    twilio_api_url: str | None = Field(
        None, alias="LEDGER_TWILIO_API_URL", pattern=r"^https?://[^/\s?#@]+[^\s?#@]*$"
    )
    """What stands for every host of Twilio's REST API, such as a stand-in to try things
    with. It is sent the auth token. Default: none, and Twilio's own hosts are asked."""

    twilio_timeout_seconds: float = Field(
        10.0, alias="LEDGER_TWILIO_TIMEOUT_SECONDS", gt=0, le=60
    )
    """How long one call of Twilio's REST API may take, in seconds; it may be tried four
    times. Default: 10."""

    admin_key: SecretStr | None = Field(None, alias="LEDGER_ADMIN_KEY", min_length=20)
    """An API key with the admin role that needs no `keys create`, 20 characters or
    more. Default with the embedded PostgreSQL: one is made and kept in
    LEDGER_DATA_DIR; with DATABASE_URL: none."""

    master_key: SecretStr | None = Field(None, alias="LEDGER_MASTER_KEY")
    """What wraps the keys that seal personal data: 32 random bytes in base64; several,
    comma-separated, while rotating, the current one first. Losing it loses whose the
    history is, and all evidence. Default with the embedded PostgreSQL: one is made and
    kept in LEDGER_DATA_DIR; with DATABASE_URL it, or one of the next two, is needed."""

    master_key_file: Path | None = Field(None, alias="LEDGER_MASTER_KEY_FILE")
    """A file with the same, such as a mounted secret. Default: none."""

    master_key_command: str | None = Field(None, alias="LEDGER_MASTER_KEY_COMMAND")
    """A command that prints the same, such as one that asks a key service; run without
    a shell, once a process. Default: none."""

    evidence_days_max: int | None = Field(
        None, alias="LEDGER_EVIDENCE_DAYS_MAX", ge=2, le=36_500
    )
    """After how many days `consent-ledger erase-evidence` destroys evidence: what a
    text said, not that it was said. Default: none, and evidence is kept."""

    data_dir: Path = Field(Path(".ledger"), alias="LEDGER_DATA_DIR")
    """Where the embedded PostgreSQL and the development secrets live. Losing it loses
    the embedded ledger. Default: .ledger in the working directory."""

    host: str = Field("127.0.0.1", alias="LEDGER_HOST")
    """Address to listen on. Default: 127.0.0.1; in a container, 0.0.0.0."""

    port: int = Field(8080, alias="LEDGER_PORT", ge=0, le=65535)
    """TCP port to listen on; 0 takes a free one. Default: 8080."""

    workers: int = Field(1, alias="LEDGER_WORKERS", ge=1, le=64)
    """Web processes; one a core is best. Default: 1."""

    project_in_serve: bool = Field(default=True, alias="LEDGER_PROJECT_IN_SERVE")
    """Whether `serve` runs the projections in a process of its own. Set to false where
    `consent-ledger project` runs elsewhere. Default: true."""

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", alias="LEDGER_LOG_LEVEL"
    )
    """From which level to log; debug logs every request. Default: info."""

    out_words: Words = Field((), alias="LEDGER_OUT_WORDS")
    """More keywords that opt out, comma-separated. Default: none but the built-in."""

    in_words: Words = Field((), alias="LEDGER_IN_WORDS")
    """More keywords that opt in, comma-separated. Default: none but the built-in."""

    help_words: Words = Field((), alias="LEDGER_HELP_WORDS")
    """More keywords that ask for help, comma-separated. Default: only the built-in."""

    out_phrases: Words = Field((), alias="LEDGER_OUT_PHRASES")
    """More phrases that opt out wherever they stand in a text, comma-separated.
    Default: none but the built-in."""

    free_text: bool = Field(default=True, alias="LEDGER_FREE_TEXT")
    """Whether free text that reads as a revocation opts out. The law counts it (47 CFR
    64.1200(a)(10)); switch it off only if people read those texts. Default: true."""

    record_messages: bool = Field(default=True, alias="LEDGER_RECORD_MESSAGES")
    """Whether inbound texts are recorded that say nothing of consent, and texts as such
    beside what they say of it. What is said of consent is recorded in any case.
    Default: true."""

    sender: str | None = Field(None, alias="LEDGER_SENDER", max_length=256)
    """What texts are sent from where a request names nothing: one of the account's
    addresses, or the SID of a Messaging Service. Default: none."""

    send_to_unknown: bool = Field(default=False, alias="LEDGER_SEND_TO_UNKNOWN")
    """Whether a text may be sent to a number of which nothing is known. Never to one
    that is out. Default: false."""

    send_seconds_max: float = Field(30.0, alias="LEDGER_SEND_SECONDS_MAX", gt=0, le=120)
    """How long Twilio is asked to send one text, in seconds, with all tries; then it is
    left open whether it has it. Default: 30."""

    sends_max: int = Field(100, alias="LEDGER_SENDS_MAX", ge=1, le=10_000)
    """Most texts that are being sent in one web process, eight of them at Twilio at
    once; more are answered 503 with Retry-After. Default: 100."""

    settle_seconds: float = Field(120.0, alias="LEDGER_SETTLE_SECONDS", gt=0, le=86_400)
    """After how many seconds Twilio is asked what became of a text of which it did not
    say whether it has it; at least twice LEDGER_SEND_SECONDS_MAX, so that nobody is
    sending it still. Default: 120."""

    settle_in_serve: bool = Field(default=True, alias="LEDGER_SETTLE_IN_SERVE")
    """Whether `serve` settles such texts, and cancels scheduled texts to whoever opts
    out. Set to false where `consent-ledger settle` is run by a timer. Default: true."""

    notify_url: str | None = Field(
        None, alias="LEDGER_NOTIFY_URL", pattern=r"^https?://[^/\s?#@]+[^\s?#@]*$"
    )
    """Where each change of consent is posted, number and all. Default: none."""

    notify_secrets: SigningSecrets = Field((), alias="LEDGER_NOTIFY_SECRET")
    """What signs that, 24 random bytes or more in base64, maybe after `whsec_`; two,
    comma-separated, while rotating. Default: none; with LEDGER_NOTIFY_URL it is needed.
    """

    notify_email: MailAddresses = Field((), alias="LEDGER_NOTIFY_EMAIL")
    """Who gets an e-mail of each change, number and all; several, comma-separated.
    Default: none."""

    notify_email_from: MailAddress | None = Field(
        None, alias="LEDGER_NOTIFY_EMAIL_FROM"
    )
    """Whom it comes from. Default: the first of LEDGER_NOTIFY_EMAIL."""

    smtp_url: MailUrl | None = Field(None, alias="LEDGER_SMTP_URL")
    """The mail server, smtp://user:password@host:port or smtps://. Default: none; with
    LEDGER_NOTIFY_EMAIL it is needed."""

    notify_seconds_max: float = Field(
        10.0, alias="LEDGER_NOTIFY_SECONDS_MAX", gt=0, le=120
    )
    """How long telling of one change may take, in seconds. Default: 10."""

    reply_to_stop: Reply | None = Field(None, alias="LEDGER_REPLY_TO_STOP")
    """What an opt-out is answered with, once, where Twilio does not answer it itself:
    on a standalone short code. The law allows one message without marketing (47 CFR
    64.1200(a)(12)). Default: none, and nothing is answered."""

    reply_to_start: Reply | None = Field(None, alias="LEDGER_REPLY_TO_START")
    """The same for an opt-in. Default: none."""

    reply_to_help: Reply | None = Field(None, alias="LEDGER_REPLY_TO_HELP")
    """The same for HELP, to whoever is not out. Default: none."""

    reply_to_free_text: bool = Field(default=False, alias="LEDGER_REPLY_TO_FREE_TEXT")
    """Whether LEDGER_REPLY_TO_STOP also answers free text that opts out, which Twilio
    never answers, on every sender. Default: false."""

    on_message: Annotated[Handlers, Field(alias="LEDGER_ON_MESSAGE")] = Field(
        default_factory=dict
    )
    """A function that gets each text and may reply, as module:function or the name of
    an entry point in the group consent_ledger.on_message; or several as JSON, by number
    or service: {"+14155550199": "shop.texts:on_message", "*": "rest"}. It runs with all
    that the service may do. Default: none."""

    on_message_calls_max: int = Field(
        50, alias="LEDGER_ON_MESSAGE_CALLS_MAX", ge=1, le=1000
    )
    """Most calls of such functions that are open in one web process; above, a text is
    recorded and the function not called. Default: 50."""

    answer_seconds_max: float = Field(
        3.0, alias="LEDGER_ANSWER_SECONDS_MAX", gt=0, le=10
    )
    """How long a text that is durable may wait for its reply, in seconds; then it gets
    none. Together with LEDGER_APPEND_TIMEOUT_SECONDS below the 15 seconds after which
    Twilio hangs up. Default: 3."""

    body_bytes_max: int = Field(65_536, alias="LEDGER_BODY_BYTES_MAX", ge=4096)
    """Largest request body in bytes; more is answered 413. Default: 65536."""

    check_body_bytes_max: int = Field(
        4_194_304, alias="LEDGER_CHECK_BODY_BYTES_MAX", ge=65_536
    )
    """Largest body of a list that is checked, in bytes; more is answered 413.
    Default: 4194304."""

    batch_max: int = Field(256, alias="LEDGER_BATCH_MAX", ge=1, le=5000)
    """Most signals in one transaction. Default: 256."""

    queue_max: int = Field(5_000, alias="LEDGER_QUEUE_MAX", ge=1)
    """Most signals waiting in one web process; more are answered 503 with Retry-After.
    Default: 5000, about a second's worth."""

    append_timeout_seconds: float = Field(
        9.0, alias="LEDGER_APPEND_TIMEOUT_SECONDS", gt=0, le=60
    )
    """How long a signal may wait for the database before it is answered 503, in
    seconds. Twilio hangs up after 15 and by default does not try again, so we try until
    shortly before; a statement that is under way then is waited for. Default: 9."""

    statement_timeout_seconds: float = Field(
        5.0, alias="LEDGER_STATEMENT_TIMEOUT_SECONDS", gt=0, le=60
    )
    """How long one statement may take, in seconds. Default: 5."""

    connections_max: int = Field(6, alias="LEDGER_CONNECTIONS_MAX", ge=2, le=100)
    """Most database connections of one web process. Default: 6."""

    key_cache_seconds: float = Field(5.0, alias="LEDGER_KEY_CACHE_SECONDS", ge=0)
    """How long a checked API key is trusted without asking the database, in seconds:
    a revoked key works at most that much longer. Default: 5."""

    wait_seconds_max: float = Field(5.0, alias="LEDGER_WAIT_SECONDS_MAX", gt=0, le=60)
    """How long a read waits for minPosition, in seconds. Default: 5."""

    projection_batch_max: int = Field(
        5_000, alias="LEDGER_PROJECTION_BATCH_MAX", ge=1, le=100_000
    )
    """Most events in one projection transaction. Default: 5000."""

    poll_seconds: float = Field(1.0, alias="LEDGER_POLL_SECONDS", gt=0, le=60)
    """How often a projection looks for events without being woken, in seconds.
    Default: 1."""

    lag_events_max: int = Field(50_000, alias="LEDGER_LAG_EVENTS_MAX", ge=0)
    """How many events a projection may be behind before /readyz says so.
    Default: 50000."""

    stop_seconds_max: int = Field(30, alias="LEDGER_STOP_SECONDS_MAX", ge=1)
    """How long SIGTERM waits for accepted requests to be answered, in seconds.
    Default: 30."""

    streams_max: int = Field(100, alias="LEDGER_STREAMS_MAX", ge=0, le=10_000)
    """Most event streams and replays open in one web process; more are answered 503
    with Retry-After. An idle one costs little, a change is written to each.
    Default: 100."""

    @classmethod
    def from_mapping(cls, environment: Mapping[str, str]) -> Self:
        """Read the settings from ``environment``.

        Raises:
            ConfigurationError: a value is not allowed, or a LEDGER_ name is unknown.
        """
        known = {field.alias for field in cls.model_fields.values()}
        unknown = {n for n in environment if n.startswith("LEDGER_")} - known
        if unknown:
            names = ", ".join(sorted(unknown))
            raise ConfigurationError(f"unknown settings: {names}")
        given = {n: v for n, v in environment.items() if n in known and v != ""}
        try:
            settings = cls.model_validate(given)
        except ValidationError as error:
            raise ConfigurationError(_explained(error)) from None
        _refuse_empty_tokens(settings)
        _refuse_early_settling(settings)
        _refuse_half_notices(settings)
        return settings

    @property
    def notice_channels(self) -> frozenset[str]:
        """Those to which changes are told."""
        is_set = {"url": self.notify_url, "email": self.notify_email and self.smtp_url}
        return frozenset(name for name, given in is_set.items() if given)

    @property
    def is_embedded(self) -> bool:
        """Whether the service keeps its own PostgreSQL and development secrets."""
        return self.database_url is None

    @property
    def signed_url(self) -> str:
        """What Twilio signs before the path: PUBLIC_URL without a trailing slash."""
        return (self.public_url or f"http://127.0.0.1:{self.port}").rstrip("/")

    def vocabulary(self) -> Vocabulary:
        """The words that opt out and in, with the configured ones."""
        return Vocabulary().with_more(
            out_words=self.out_words,
            in_words=self.in_words,
            help_words=self.help_words,
            out_phrases=self.out_phrases,
            free_text=self.free_text,
        )

    def reply_texts(self) -> ReplyTexts:
        """What STOP, START and HELP are answered with."""
        return ReplyTexts(
            stop=self.reply_to_stop,
            start=self.reply_to_start,
            help=self.reply_to_help,
            to_free_text=self.reply_to_free_text,
        )

    @property
    def answers_texts(self) -> bool:
        """Whether any text may get a reply, or is given to a function."""
        return bool(self.on_message) or not self.reply_texts().are_none

    def twilio_tokens(self) -> dict[str, list[str]]:
        """The auth tokens of each account that may call us; two while rotating."""
        given = dict(self.twilio_subaccounts)
        if self.twilio_account_sid and self.twilio_auth_token:
            given[self.twilio_account_sid] = self.twilio_auth_token
        return {account: _tokens(tokens) for account, tokens in given.items()}


def _tokens(given: SecretStr) -> list[str]:
    """One token or two; never an empty one, with which anybody could sign."""
    return [
        token for part in given.get_secret_value().split(",") if (token := part.strip())
    ]


def _refuse_empty_tokens(settings: Settings) -> None:
    for account, tokens in settings.twilio_tokens().items():
        if not tokens:
            raise ConfigurationError(f"the auth token of {account} is empty")


def _refuse_early_settling(settings: Settings) -> None:
    if settings.settle_seconds < 2 * settings.send_seconds_max:
        raise ConfigurationError(
            "LEDGER_SETTLE_SECONDS is less than twice LEDGER_SEND_SECONDS_MAX: a text "
            "might be taken for lost while it is being sent"
        )


def _refuse_half_notices(settings: Settings) -> None:
    if settings.notify_url and not settings.notify_secrets:
        raise ConfigurationError("LEDGER_NOTIFY_URL needs LEDGER_NOTIFY_SECRET")
    if settings.notify_email and not settings.smtp_url:
        raise ConfigurationError("LEDGER_NOTIFY_EMAIL needs LEDGER_SMTP_URL")


def _explained(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
        for problem in error.errors(include_input=False, include_url=False)
    )
