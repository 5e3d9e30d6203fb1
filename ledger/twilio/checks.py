"""What ``consent-ledger twilio doctor`` looks at: one small function a check.

Each says in a sentence what it found and what to do about it. Pure: it is given what
was answered. The subtle part is that one fault may be all that several checks see, so
that a check that cannot look says nothing where the fault has been named already.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from urllib.parse import urlsplit

from ledger.errors import LedgerError, TwilioUnauthenticated
from ledger.settings import Settings
from ledger.twilio.account import Standing
from ledger.twilio.leaks import leaks
from ledger.twilio.probe import Reply
from ledger.twilio.receivers import Receiver, Target, is_local, shown

Verdict = Literal["ok", "note", "warning", "wrong"]

SKEW_SECONDS_MAX: Final = 30

_FORBIDDEN: Final = 403
_UNUSABLE: Final = 422


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found; ``advice`` says what to do, and is empty where all is well.

    ``about`` is an account, a URL or a receiver.
    """

    check: str
    about: str
    verdict: Verdict
    found: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Registered:
    """A receiver, the service that it is in, and who is called for its texts."""

    receiver: Receiver
    service_sid: str | None
    target: Target
    url: str


@dataclass(frozen=True, slots=True)
class Token:
    """One auth token of an account, and what Twilio's REST API makes of it."""

    account_sid: str
    place: int
    secret: str
    answer: Standing | LedgerError

    @property
    def is_refused(self) -> bool:
        """Whether Twilio knows that it is not, or no longer, the account's."""
        return isinstance(self.answer, TwilioUnauthenticated)


def check_public_url(settings: Settings) -> Finding:
    """Twilio must be able to call it, and to send status callbacks to it."""
    url = settings.signed_url
    host = urlsplit(url).hostname or ""
    verdict: Verdict = "ok"
    found, advice = "is a URL that Twilio can call", ""
    if is_local(host):
        verdict, found = "wrong", "leads to this machine alone"
        advice = "set PUBLIC_URL to the scheme, host and port under which Twilio calls"
    elif "_" in host:
        verdict, found = "wrong", "has an underscore in its host"
        advice = "use another name: Twilio sends no status callbacks to such a host"
    elif not url.startswith("https://"):
        verdict, found = "warning", "is not encrypted: numbers and texts can be read"
        advice = "put TLS in front, and let PUBLIC_URL begin with https://"
    return Finding("public URL", shown(url), verdict, found, advice)


def check_credentials(tokens: Sequence[Token]) -> Finding:
    """One of the tokens must be the account's, and the account active."""
    account_sid = tokens[0].account_sid
    standing = next((t.answer for t in tokens if isinstance(t.answer, Standing)), None)
    if standing is None:
        error = next(
            (t.answer for t in tokens if isinstance(t.answer, LedgerError)), None
        )
        return Finding(
            "credentials",
            account_sid,
            "wrong",
            f"{error.title()}: {error}" if error else "no answer",
            _advice_for(error),
        )
    if standing.status != "active":
        return Finding(
            "credentials",
            account_sid,
            "wrong",
            f"the account is {standing.status}",
            "make it active in Twilio's Console: such an account receives no texts",
        )
    return Finding("credentials", account_sid, "ok", f"{standing.kind} account, active")


def check_rotation(tokens: Sequence[Token]) -> Iterator[Finding]:
    """Two tokens are for a rotation, which should end."""
    if len(tokens) == 1 or all(token.is_refused for token in tokens):
        return
    refused = [token.place for token in tokens if token.is_refused]
    advice = "promote the secondary token, then leave the old one out"
    found = "Twilio takes every token"
    if refused:
        places = " and ".join(map(str, refused))
        found = f"Twilio refuses token {places} of {len(tokens)}"
        advice = "leave out what Twilio refuses, once no text is on its way"
    yield Finding("rotation", tokens[0].account_sid, "warning", found, advice)


def check_webhook(
    public_url: str, account_sid: str, replies: Sequence[Reply | Exception]
) -> Iterator[Finding]:
    """Only what is signed may come in: none, a forged one, then one by each token."""
    unsigned, forged, *signed = replies
    about = f"{shown(public_url)} for {account_sid}"
    if isinstance(unsigned, Exception):
        yield Finding(
            "webhook",
            about,
            "wrong",
            f"does not answer: {type(unsigned).__name__}",
            "start the service, and see that the name, the port and the certificate "
            "are those of PUBLIC_URL",
        )
        return
    yield _refuses(about, "unsigned", unsigned)
    yield _refuses(about, "forged", forged)
    for place, reply in enumerate(signed, start=1):
        yield _accepts(about, f"signed with token {place} of {len(signed)}", reply)


def check_clocks(
    tokens: Sequence[Token], now: datetime, service_date: datetime | None
) -> Iterator[Finding]:
    """This machine and the service against Twilio's clock, by the answers' Date."""
    dates = [t.answer.date for t in tokens if isinstance(t.answer, Standing)]
    twilios = next((date for date in dates if date is not None), None)
    if twilios is None:
        return
    clocks = {"this machine": now, "the service": service_date}
    for name, date in clocks.items():
        if date is None:
            continue
        seconds = round((date - twilios).total_seconds())
        is_well = abs(seconds) <= SKEW_SECONDS_MAX
        yield Finding(
            "clock",
            name,
            "ok" if is_well else "warning",
            "agrees with Twilio's" if is_well else f"is {seconds:+d} s off Twilio's",
            "" if is_well else "let it keep time by NTP, the database's machine too",
        )


def check_receivers(
    account_sid: str,
    registered: Sequence[Registered],
    services: Sequence[Receiver],
    public_url: str,
) -> Iterator[Finding]:
    """Every number, short code and service, for what loses a STOP."""
    homes = {service.sid: service for service in services}
    filled = {r.service_sid for r in registered}
    for each in registered:
        receiver = each.receiver
        home = homes.get(each.service_sid or "")
        about = f"{receiver.kind} {receiver.sid}"
        if each.target == "here":
            yield Finding("receiver", about, "ok", "its texts come here")
        for leak in leaks(receiver, home, public_url):
            # A service without numbers receives nothing that could be lost.
            is_empty = receiver.kind == "service" and receiver.sid not in filled
            yield Finding(
                "receiver",
                about,
                "note" if is_empty else leak.weight,
                leak.sentence,
                _connect(receiver, account_sid) if leak.is_mended else "",
            )
    if not any(each.target == "here" for each in registered):
        yield Finding(
            "receiver",
            account_sid,
            "wrong" if registered else "note",
            f"nothing of it sends its texts to {shown(public_url)}",
            "run `consent-ledger twilio connect`" if registered else "",
        )


def check_readable(account_sid: str, error: LedgerError) -> Finding:
    """What receives texts must be shown by Twilio."""
    found = f"{error.title()}: {error}"
    return Finding("receiver", account_sid, "wrong", found, _advice_for(error))


def _connect(receiver: Receiver, account_sid: str) -> str:
    match receiver.kind:
        case "short code":
            return "set its URL in Twilio's Console, or put it into a service"
        case kind:
            return (
                f"run `consent-ledger twilio connect --{kind} {receiver.sid} "
                f"--account {account_sid}`"
            )


def _advice_for(error: LedgerError | None) -> str:
    if isinstance(error, TwilioUnauthenticated):
        return (
            "set TWILIO_AUTH_TOKEN to the primary auth token of this very account, as "
            "Twilio's Console shows it; an API key's secret is none"
        )
    return "see docs/reference/errors.md for the code, then run this again"


def _refuses(about: str, kind: str, reply: Reply | Exception) -> Finding:
    if isinstance(reply, Reply) and reply.status == _FORBIDDEN:
        return Finding("webhook", about, "ok", f"refuses what is {kind}")
    return Finding(
        "webhook",
        about,
        "wrong",
        f"{_answered(reply)} where it is {kind}, instead of 403",
        "whatever answers there is not the ledger, or something answers before it",
    )


def _accepts(about: str, kind: str, reply: Reply | Exception) -> Finding:
    if (
        isinstance(reply, Reply)
        and reply.status == _UNUSABLE
        and reply.code == "unusable_text"
    ):
        return Finding("webhook", about, "ok", f"accepts what is {kind}")
    return Finding(
        "webhook",
        about,
        "wrong",
        f"{_answered(reply)} where it is {kind}, instead of 422",
        "give the service this account, this token and this PUBLIC_URL, and see that "
        "no proxy changes the path or the body",
    )


def _answered(reply: Reply | Exception) -> str:
    if isinstance(reply, Exception):
        return f"does not answer ({type(reply).__name__})"
    return f"answers {reply.status}{f' {reply.code}' if reply.code else ''}"
