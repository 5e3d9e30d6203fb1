"""Which senders of an account Twilio can be told about, and what shares blocks."""

from ledger.domain.ids import Sender, is_toll_free
from ledger.pushing.wishes import Told
from ledger.twilio.account import TwilioAccount


async def senders_of(account: TwilioAccount) -> list[Told]:
    """Its services, numbers and short codes; a service blocks for all of its numbers.

    Raises:
        TwilioRefused, TwilioUnavailable: they cannot be had.
    """
    receivers = await account.receivers()
    services = [one.sid for one in receivers if one.kind == "service"]
    pools = {sid: await account.pool(sid) for sid in services}
    senders = []
    for one in receivers:
        if one.kind == "service":
            mine = {other.name for other in receivers if other.sid in pools[one.sid]}
            senders.append(_told(one.sid, mine, for_all=True))
        else:
            homes = {sid for sid, pool in pools.items() if one.sid in pool}
            senders.append(_told(one.name, homes, for_all=not homes))
    return senders


def _told(name: str, others: set[str], *, for_all: bool) -> Told:
    scope = frozenset(map(Sender, {name, *others}))
    return Told(Sender(name), for_all, is_toll_free(name), scope)
