"""Notices of changes, by e-mail, to a mail server that may refuse."""

from collections.abc import AsyncIterator

import pytest
from api_steps import text
from builders import NUMBER, SENDER
from conftest import Client, settings_for
from notice_receivers import Mailbox, mailing

from ledger.errors import NoticeUndelivered
from ledger.notifying.channel import Channel
from ledger.notifying.follower import Follower
from ledger.notifying.standing import read_channels
from ledger.notifying.worker import channels
from ledger.store.database import Connection, Pool
from ledger.store.keyring import Keyring
from ledger.store.postgres import PostgresEventStore


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    """Who is told."""
    async with mailing() as mailbox:
        yield mailbox


def channel_to(mailbox: Mailbox, user: str = "") -> Channel:
    """What the settings of an operator make."""
    settings = settings_for(
        "postgresql://nowhere",
        LEDGER_SMTP_URL=f"smtp://{user}127.0.0.1:{mailbox.port}",
        LEDGER_NOTIFY_EMAIL="team@example.org, other@example.org",
        LEDGER_NOTIFY_EMAIL_FROM="ledger@example.org",
        LEDGER_NOTIFY_SECONDS_MAX="5",
    )
    [channel] = channels(settings)
    return channel


@pytest.fixture
async def follower(
    pool: Pool, store: PostgresEventStore, keyring: Keyring, mailbox: Mailbox
) -> Follower:
    """What tells the mailbox, started at the beginning of an empty ledger."""
    follower = Follower(pool, store, keyring, channel_to(mailbox))
    assert await follower.run_once() == 0
    return follower


async def test_each_change_is_an_email(
    client: Client, follower: Follower, mailbox: Mailbox
) -> None:
    """To everybody who is set; it says what changed, when and for whom."""
    await text(client, "STOP")
    await text(client, "START")
    assert await follower.run_once() == 2
    stop, start = mailbox.taken
    assert (stop["To"], stop["From"]) == (
        "team@example.org, other@example.org",
        "ledger@example.org",
    )
    assert (stop["Subject"], start["Subject"]) == (
        "Consent: unknown -> out",
        "Consent: out -> in",
    )
    shown = str(stop.get_payload())
    for line in (f"Number:    {NUMBER}", f"Sender:    {SENDER}", "out (was unknown)"):
        assert line in shown


@pytest.mark.parametrize(
    "refusal", ["451 try again later", "552 mailbox is full", "554 no"]
)
async def test_what_is_refused_is_written_again(
    client: Client,
    follower: Follower,
    mailbox: Mailbox,
    connection: Connection,
    refusal: str,
) -> None:
    """Nothing after it is written before; the reason shows no address."""
    mailbox.refusals.append(refusal)
    await text(client, "STOP")
    await text(client, "START")
    with pytest.raises(NoticeUndelivered):
        await follower.run_once()
    [channel] = await read_channels(connection, {"email"})
    reason = f"the mail server: SMTPDataError {refusal[:3]}"
    assert (channel.channel, channel.failed_reason) == ("email", reason)
    assert await follower.run_once() == 2
    assert [message["Subject"][-3:].strip() for message in mailbox.taken] == [
        "out",
        "in",
    ]


async def test_a_repeat_has_the_same_name(
    client: Client,
    follower: Follower,
    mailbox: Mailbox,
    connection: Connection,
) -> None:
    """A mailbox can tell it, where the checkpoint was not moved."""
    await text(client, "STOP")
    for _ in range(2):
        await follower.run_once()
        await connection.execute("UPDATE notice_channels SET position = 0")
    first, second = mailbox.ids
    assert first == second


async def test_a_password_is_never_sent_in_clear(
    client: Client,
    pool: Pool,
    store: PostgresEventStore,
    keyring: Keyring,
    mailbox: Mailbox,
) -> None:
    """A server that offers no TLS gets neither it nor an e-mail."""
    channel = channel_to(mailbox, user="ledger:secret@")
    follower = Follower(pool, store, keyring, channel)
    await follower.run_once()
    await text(client, "STOP")
    with pytest.raises(NoticeUndelivered, match="SMTPException"):
        await follower.run_once()
    assert mailbox.taken == []
