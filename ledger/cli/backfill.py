"""``consent-ledger import twilio``: what Twilio's log of messages has of the past."""

import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Final, NamedTuple

import orjson
import typer

from ledger.cli.imports import INTERRUPTED, SKIPPED, stopping_by_ctrl_c
from ledger.cli.setup import AsJson, Ledger, with_ledger
from ledger.command_handler import CommandHandler
from ledger.domain.ids import is_e164
from ledger.errors import InvalidRequest, LedgerError, TwilioUnavailable
from ledger.errors import StoreUnavailable as Outage
from ledger.garbage import collecting_seldom
from ledger.imports.rereading import Rereading
from ledger.imports.sinks import Foresight, Once, Recording, Turned
from ledger.imports.walk import Arrivals, InOrder, Kept, Nowhere, Place, Walk, Walked
from ledger.message_log import MessageLog
from ledger.progress import shown_progress
from ledger.twilio.account import TwilioAccount, check_sid, open_account
from ledger.twilio.log import Scope, service_scope

KEPT_DAYS: Final = 400
"""How long Twilio shows messages; an account may have set less."""

HOW_TO_GO_ON: Final = (
    "What is recorded stays; run the same command again to go on from the day that it "
    "had come to"
)
_NOT_IN_A_LOG: Final = (
    "a text to a service that had no inbound URL then, which Twilio dropped",
    "a STOP that Proxy, or a toll-free number's network, has kept to itself",
    f"what is older than {KEPT_DAYS} days, or than the account's own limit",
    "what a text said whose body was deleted or redacted",
    "OptOutType: custom keywords of Advanced Opt-Out are plain texts in the log",
)

Since = Annotated[
    datetime,
    typer.Option(formats=["%Y-%m-%d"], help="The first day in UTC, as 2026-01-31."),
]
To = Annotated[
    str | None,
    typer.Option(help="One of your numbers: texts to it, and refusals from it."),
]
Service = Annotated[
    str | None, typer.Option(metavar="MG…", help="Those of a Messaging Service.")
]
OfAccount = Annotated[
    str | None,
    typer.Option(metavar="AC…", help="Whose; TWILIO_ACCOUNT_SID unless given."),
]


class Asked(NamedTuple):
    """Which part of which log."""

    since: date
    to: str | None
    service: str | None
    account: str | None

    @property
    def name(self) -> str:
        """What tells one unfinished walk from another."""
        return f"{self.since.isoformat()} {self.to or self.service or ''}".rstrip()


class Done(NamedTuple):
    """What came of it."""

    walked: Walked
    seconds: float
    turned: Turned | None
    deaf: list[str]
    """The services of the account that have no inbound URL now."""
    error: LedgerError | None


def import_twilio(  # noqa: PLR0913 - one parameter an option
    since: Since,
    to: To = None,
    service: Service = None,
    account: OfAccount = None,
    *,
    apply: Annotated[
        bool, typer.Option("--apply", help="Record; else it is a dry run.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Record what old texts in Twilio's log said; a dry run unless --apply."""
    asked = asked_for(since, to, service, account)
    done = with_ledger(lambda ledger: backfilled(ledger, asked, apply=apply))
    if as_json:
        typer.echo(orjson.dumps(report_of(asked, done, apply=apply)).decode())
    else:
        for line in _lines(asked, done, apply=apply):
            typer.echo(line)
    if done.error is not None:
        raise done.error
    if not done.walked.tally.is_whole:
        raise typer.Exit(INTERRUPTED)
    if done.walked.tally.refused:
        raise typer.Exit(1)


def asked_for(
    since: datetime, to: str | None, service: str | None, account: str | None
) -> Asked:
    """What the options say.

    Raises:
        InvalidRequest: they do not go together, or one is not of its form.
    """
    if to is not None and service is not None:
        raise InvalidRequest("give --to or --service, or neither")
    if to is not None and not (is_e164(to) or to.isdigit()):
        raise InvalidRequest("--to is a number of yours, as +14155550199")
    if service is not None:
        check_sid("MG", service)
    if since.date() > datetime.now(UTC).date():
        raise InvalidRequest("--since has not come yet")
    return Asked(since.date(), to, service, account)


async def scope_of(account: TwilioAccount, asked: Asked) -> Scope:
    """What of the log is wanted."""
    if asked.service is not None:
        return await service_scope(account, asked.service)
    return Scope(to=asked.to)


async def backfilled(ledger: Ledger, asked: Asked, *, apply: bool) -> Done:
    """Go through the log, and record what it says, or foresee that."""
    handler = CommandHandler(ledger.store, ledger.keyring, ledger.settings)
    foresight = None if apply else Foresight(handler, Once())
    log = MessageLog(handler, ledger.store, ledger.keyring)
    is_keeping = apply and ledger.settings.record_messages
    arrivals = Arrivals() if is_keeping else None
    recording = Recording(handler, Once(), *([arrivals.of] if arrivals else []))
    in_order = InOrder(foresight or recording, handler, ledger.store)
    sink = Rereading(in_order, handler, ledger.store, ledger.keyring)
    days = (datetime.now(UTC).date() - asked.since).days + 1
    began = time.monotonic()
    error: LedgerError | None = None
    async with open_account(ledger.settings, asked.account) as account:
        scope = await scope_of(account, asked)
        services = await account.services()
        kept = Kept(ledger.pool, account.sid, asked.name)
        place: Place = kept if apply else Nowhere()
        vocabulary = ledger.settings.vocabulary()
        walk = Walk(account, scope, vocabulary, sink, log, arrivals)
        what = "import, days" if apply else "dry run, days"
        with (
            collecting_seldom(),
            stopping_by_ctrl_c() as stopping,
            shown_progress(what, days) as advance,
        ):
            try:
                await walk.run(asked.since, place, stopping, advance)
            except (Outage, TwilioUnavailable) as outage:
                error = type(outage)(f"{outage}. {HOW_TO_GO_ON}")
    seconds = time.monotonic() - began
    turned = foresight.turned if foresight else None
    deaf = [s.sid for s in services if not (s.url or s.defers)]
    return Done(walk.walked, seconds, turned, deaf, error)


def report_of(asked: Asked, done: Done, *, apply: bool) -> dict[str, Any]:
    """What came of it, for a script."""
    walked, tally = done.walked, done.walked.tally
    answer: dict[str, Any] = {
        "dryRun": not apply,
        "complete": tally.is_whole,
        "since": asked.since,
        "resumedFrom": walked.resumed_from,
        "days": walked.days,
        "messages": tally.rows,
        "recorded": tally.recorded,
        "duplicates": tally.duplicates,
        "texts": walked.texts,
        "skipped": dict(tally.skipped),
        "refused": dict(tally.refused),
        "refusedMessages": walked.refused_sids,
        "servicesWithoutInboundUrl": done.deaf,
        "notInALog": list(_NOT_IN_A_LOG),
        "seconds": round(done.seconds, 3),
    }
    if done.turned is not None:
        answer["numbers"] = {
            "turnOut": done.turned.out,
            "turnIn": done.turned.into,
            "stay": done.turned.neither,
        }
    return answer


def _lines(asked: Asked, done: Done, *, apply: bool) -> Iterator[str]:
    walked, tally = done.walked, done.walked.tally
    if walked.resumed_from:
        yield f"went on from {walked.resumed_from}, where an earlier run had come to"
    yield f"{tally.rows} messages of {walked.days} days read"
    yield f"{tally.recorded} {'recorded' if apply else 'would be recorded'}"
    yield f"{tally.duplicates} recorded before"
    if walked.texts:
        yield f"{walked.texts} texts recorded that say nothing of consent"
    for why, count in tally.skipped.items():
        yield f"{count} passed over: {SKIPPED[why]}"
    for code, count in tally.refused.most_common():
        yield f"{count} refused: {code}"
    yield from (f"  {refused}" for refused in walked.refused_sids)
    if done.turned is not None:
        turned = done.turned
        yield (
            f"numbers: {turned.out} would turn out, {turned.into} in, "
            f"{turned.neither} stay as they are"
        )
    yield "a log cannot tell:"
    yield from (f"  {gap}" for gap in _NOT_IN_A_LOG)
    oldest = datetime.now(UTC).date() - timedelta(days=KEPT_DAYS)
    if asked.since < oldest:
        yield f"! Twilio shows nothing of before {oldest}"
    for sid in done.deaf:
        yield f"! {sid} has no inbound URL: Twilio drops every text to it, unlogged"
    if not tally.is_whole and done.error is None:
        yield f"stopped. {HOW_TO_GO_ON}"
    elif not apply:
        yield "nothing was recorded: this was a dry run; --apply records"
