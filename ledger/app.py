"""The web process: settings become a pool, a store, a handler, an application.

The composition root; nothing else constructs these. Starts while the database is down
and becomes ready when it is up.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

from aiohttp import web

from ledger.api.check_reader import CheckReader
from ledger.api.checks import ChecksApi
from ledger.api.consents import ConsentsApi
from ledger.api.erasures import ErasuresApi
from ledger.api.events import EventsApi
from ledger.api.everyday_number import EverydayNumber
from ledger.api.feed import Feed
from ledger.api.health import HealthApi
from ledger.api.history import HistoryApi
from ledger.api.keys import Keys
from ledger.api.lists import Lists
from ledger.api.message_reader import MessageReader
from ledger.api.messages import MessagesApi
from ledger.api.openapi import OpenApi
from ledger.api.past import PastReader
from ledger.api.past_list import PastLists
from ledger.api.phone_number_list import PhoneNumberListApi
from ledger.api.phone_numbers import PhoneNumbersApi
from ledger.api.problems import observe
from ledger.api.read_model import ReadModel
from ledger.api.receipts import ReceiptsApi
from ledger.api.sending import SendingApi
from ledger.api.serving import Serving
from ledger.api.streams import Streams
from ledger.command_handler import CommandHandler
from ledger.erasure import Erasures
from ledger.everyday import EVERYDAY, Everyday
from ledger.garbage import collecting_seldom
from ledger.master_key import load_master_keys
from ledger.message_log import MessageLog
from ledger.notifying.worker import notifying
from ledger.observations import count_gathered, observing_queue
from ledger.sending.sender import Sending
from ledger.sending.unscheduling import Unscheduling
from ledger.sending.worker import settling
from ledger.settings import Settings
from ledger.store.database import Pool, open_pool
from ledger.store.keyring import Keyring
from ledger.store.postgres import PostgresEventStore
from ledger.store.subscription import Doorbell
from ledger.webhook.answering import Answering
from ledger.webhook.routes import Webhook
from ledger.webhook.signature import SignatureChecker
from ledger.webhook.status import StatusWebhook


async def make_app(dsn: str, settings: Settings) -> web.Application:
    """An application that starts what it needs when it starts, and stops it after.

    ``settings`` must name the Twilio account: ``ledger.__main__`` has seen to that.

    Raises:
        ConfigurationError: there is no master key, or a handler cannot be loaded.
    """
    pool = await open_pool(dsn, settings, application="consent-ledger web")
    serving = Serving(pool)
    bell = Doorbell(
        dsn,
        "projections_advanced",
        poll_seconds=settings.poll_seconds,
        also={"projections_switched": serving.forget},
    )
    store = PostgresEventStore(pool)
    keyring = Keyring(pool, load_master_keys(settings))
    keys = Keys(pool, settings)
    handler = CommandHandler(store, keyring, settings)
    read_model = ReadModel(pool, serving, keyring, bell, settings)
    past = PastReader(serving, keyring, read_model, settings)
    lists = Lists(serving, settings)
    streams = Streams(settings)
    feed = Feed(serving, read_model, bell, streams, settings)
    checks = CheckReader(pool, keyring, read_model, settings)
    sending = Sending(handler, store, keyring, settings)
    settler = settling(dsn, pool, handler, store, keyring, sending, settings)
    told = notifying(dsn, pool, store, keyring, settings)
    parts = (pool, bell, read_model, past, lists, feed, handler, sending, settler, told)

    async def running(_: web.Application) -> AsyncIterator[None]:
        # aiohttp has answered every accepted request before it comes back here.
        async with AsyncExitStack() as stack:
            for part in (*parts, observing_queue(lambda: handler.waiting)):
                await stack.enter_async_context(part)
            with collecting_seldom():
                yield
        count_gathered()

    app = web.Application(
        middlewares=[observe], client_max_size=settings.body_bytes_max
    )
    app.cleanup_ctx.append(running)
    # Before aiohttp waits for open requests: a stream has no end of its own.
    app.on_shutdown.append(streams.stop)
    checker = SignatureChecker(settings.signed_url, settings.twilio_tokens())
    webhook = _webhook(settings, checker, handler, store, keyring)
    messages = MessageLog(handler, store, keyring)
    texts = MessageReader(serving, messages, list(settings.twilio_tokens()))
    number = EverydayNumber(keys, read_model, past).everyday()
    app[EVERYDAY] = Everyday([*webhook.everyday(), *number], settings.body_bytes_max)
    for resource in (
        webhook,
        StatusWebhook(checker, messages),
        MessagesApi(keys, texts, read_model, store, keyring),
        PhoneNumbersApi(keys, read_model, past, feed),
        HistoryApi(keys, read_model, store, keyring),
        PhoneNumberListApi(keys, lists, PastLists(serving, past), feed),
        SendingApi(keys, sending, store, keyring, settings),
        ConsentsApi(keys, handler, store, read_model, keyring),
        EventsApi(keys, store, keyring, streams, bell),
        ChecksApi(keys, checks, read_model, store, settings),
        ReceiptsApi(keys, store),
        ErasuresApi(keys, _erasures(pool, handler, store, keyring, settings)),
        HealthApi(pool, read_model, settings),
        OpenApi(keys),
    ):
        app.router.add_routes(resource.routes())
    return app


def _erasures(
    pool: Pool,
    handler: CommandHandler,
    store: PostgresEventStore,
    keyring: Keyring,
    settings: Settings,
) -> Erasures:
    unschedule = Unscheduling(handler, store, keyring, settings)
    return Erasures(pool, store, keyring, unschedule)


def _webhook(
    settings: Settings,
    checker: SignatureChecker,
    handler: CommandHandler,
    store: PostgresEventStore,
    keyring: Keyring,
) -> Webhook:
    vocabulary = settings.vocabulary()
    answering = None
    if settings.answers_texts:
        answering = Answering(settings, vocabulary, store, keyring)
    return Webhook(
        checker,
        vocabulary,
        handler,
        answering,
        records_messages=settings.record_messages,
    )
