"""Texts, wishes and what becomes of them, with defaults for what does not matter."""

from typing import Any

from builders import ACCOUNT_SID, NUMBER, SENDER, signal

from ledger.domain.messages import SendRequest, SentReport, StatusReport, Text
from ledger.message_log import MessageLog


def a_text(sid: str = "SM1", *, says: str | None = None, **more: Any) -> Text:
    """An inbound text, which says ``in``, ``out`` or nothing."""
    name = f"{ACCOUNT_SID}:{sid}"
    evidence = {"Body": says or "Hello"}
    given: dict[str, Any] = {
        "key": f"twilio:{name}",
        "name": name,
        "phone_number": NUMBER,
        "sender": SENDER,
        "address": SENDER,
        "sid": sid,
        "evidence": evidence,
    }
    given["signal"] = says and signal(
        key=given["key"],
        status=says,
        evidence=evidence,
        phone_number=more.get("phone_number", NUMBER),
    )
    return Text(**(given | more))


def a_wish(key: str = "send:1", **more: Any) -> SendRequest:
    """Somebody wants to send a text."""
    given: dict[str, Any] = {
        "key": key,
        "name": key,
        "phone_number": NUMBER,
        "sender": SENDER,
        "address": SENDER,
        "evidence": {"body": "Your order"},
        "actor": "key:shop",
    }
    return SendRequest(**(given | more))


def taken(name: str = "send:1", sid: str = "SM9", **more: Any) -> SentReport:
    """Twilio has taken it."""
    given: dict[str, Any] = {
        "key": f"twilio:{ACCOUNT_SID}:{sid}",
        "name": name,
        "phone_number": NUMBER,
        "sender": SENDER,
        "address": SENDER,
        "sid": sid,
        "status": "queued",
        "error_code": None,
        "source": "api",
        "actor": "key:shop",
        "evidence": {"sid": sid, "body": "Your order"},
    }
    return SentReport(**(given | more))


async def status(log: MessageLog, status: str, **more: Any) -> StatusReport:
    """What became of the text that was asked for as ``send:1``."""
    given: dict[str, Any] = {
        "message_id": await log.message_id("send:1"),
        "phone_number": NUMBER,
        "status": status,
        "error_code": None,
        "source": "twilio.status",
        "actor": "twilio",
        "evidence": {"MessageStatus": status},
        "sender": SENDER,
        "address": SENDER,
        "sid": "SM9",
    }
    return StatusReport(**(given | more))
