"""``consent-ledger twilio doctor``: whether every STOP would reach the ledger.

Asks Twilio and our own webhook, and has the answers checked. Never changes anything,
neither at Twilio nor in the ledger, and never asks the database.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import aiohttp

from ledger.errors import LedgerError
from ledger.settings import Settings
from ledger.twilio.account import Standing, TwilioAccount, main_account, open_account
from ledger.twilio.checks import (
    Finding,
    Registered,
    Token,
    check_clocks,
    check_credentials,
    check_public_url,
    check_readable,
    check_receivers,
    check_rotation,
    check_webhook,
)
from ledger.twilio.probe import Probe, Reply
from ledger.twilio.receivers import asked, shown, target
from ledger.twilio.transport import Pause


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Everything that was found."""

    findings: Sequence[Finding]
    registered: Sequence[Registered]

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong; a warning is not."""
        return all(finding.verdict != "wrong" for finding in self.findings)


async def diagnose(settings: Settings, *, pause: Pause = asyncio.sleep) -> Diagnosis:
    """Run every check.

    Raises:
        ConfigurationError: no account is set.
    """
    main_account(settings)  # it says what is missing
    findings = [check_public_url(settings)]
    registered: list[Registered] = []
    for account_sid in settings.twilio_tokens():
        tokens = await _tokens(settings, account_sid, pause)
        findings += [check_credentials(tokens), *check_rotation(tokens)]
        replies = await _probe(settings, tokens)
        findings += check_webhook(settings.signed_url, account_sid, replies)
        service_date = next((r.date for r in replies if isinstance(r, Reply)), None)
        findings += check_clocks(tokens, datetime.now(UTC), service_date)
        if any(isinstance(token.answer, Standing) for token in tokens):
            async with open_account(settings, account_sid, pause=pause) as account:
                more, reasons = await _registered(account, settings.signed_url)
            registered += more
            findings += reasons
    return Diagnosis([*findings], registered)


async def _tokens(settings: Settings, account_sid: str, pause: Pause) -> list[Token]:
    """Ask Twilio with each token alone."""
    found = []
    for place, secret in enumerate(settings.twilio_tokens()[account_sid], start=1):
        answer: Standing | LedgerError
        try:
            async with open_account(
                settings, account_sid, tokens=[secret], pause=pause
            ) as account:
                answer = await account.standing()
        except LedgerError as error:
            answer = error
        found.append(Token(account_sid, place, secret, answer))
    return found


async def _probe(
    settings: Settings, tokens: Sequence[Token]
) -> list[Reply | Exception]:
    """An unsigned request, a forged one, and one by each token."""
    timeout = aiohttp.ClientTimeout(total=settings.twilio_timeout_seconds)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        probe = Probe(session, settings.signed_url, tokens[0].account_sid)
        replies: list[Reply | Exception] = []
        requests = [probe.unsigned, probe.forged]
        requests += [partial(probe.signed, token.secret) for token in tokens]
        for request in requests:
            try:
                replies.append(await request())
            except (aiohttp.ClientError, TimeoutError) as error:
                replies.append(error)
        return replies


async def _registered(
    account: TwilioAccount, public_url: str
) -> tuple[list[Registered], list[Finding]]:
    """What receives texts, and what is wrong with it."""
    try:
        receivers = [r for r in await account.receivers() if r.receives]
        services = [r for r in receivers if r.kind == "service"]
        pools = await asyncio.gather(*(account.pool(s.sid) for s in services))
    except LedgerError as error:
        return [], [check_readable(account.sid, error)]
    home = {sid: s for s, pool in zip(services, pools, strict=True) for sid in pool}
    registered = [
        Registered(
            receiver=r,
            service_sid=home[r.sid].sid if r.sid in home else None,
            target=target(r, home.get(r.sid), public_url),
            url=shown(asked(r, home.get(r.sid)).url),
        )
        for r in receivers
    ]
    return registered, list(
        check_receivers(account.sid, registered, services, public_url)
    )
