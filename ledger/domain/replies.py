"""Which reply a text may get: pure, from what it says and what held before.

Twilio answers keywords by itself for most senders, and nobody wants two answers: a
reply of ours is for what Twilio leaves alone. The subtle part is what it leaves alone:
standalone short codes, for which it keeps no list at all, and free text, of which it
understands nothing, on every sender.
"""

import re
from dataclasses import dataclass
from typing import Final, Literal

from ledger.domain.classify import Classification
from ledger.domain.ids import Answer

ReplyKind = Literal["stop", "start", "help", "handler"]

_SHORT_CODE: Final = re.compile(r"[0-9]{3,8}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ReplyTexts:
    """What STOP, START and HELP are answered with; None is no answer."""

    stop: str | None = None
    start: str | None = None
    help: str | None = None
    to_free_text: bool = False
    """Whether ``stop`` also answers free text that is taken for a revocation."""

    @property
    def are_none(self) -> bool:
        """Whether nothing is answered."""
        return not (self.stop or self.start or self.help)


def twilio_answers(
    meaning: Classification, *, to: str, service_sid: str, opt_out_type: str
) -> bool:
    """Whether Twilio answers such a text itself, or may: then we do not.

    With Advanced Opt-Out, which alone sends ``OptOutType``, it has done so already.
    """
    if opt_out_type:
        return True
    is_standalone = not service_sid and _SHORT_CODE.fullmatch(to) is not None
    return meaning.matched_by == "keyword" and not is_standalone


def is_wanted(texts: ReplyTexts, meaning: Classification) -> bool:
    """Whether a text is set for what was said; whether it may be sent is open."""
    if meaning.matched_by == "freeText":
        return texts.to_free_text and texts.stop is not None
    return _text_for(texts, meaning) is not None


def configured_reply(
    texts: ReplyTexts, meaning: Classification, before: Answer
) -> str | None:
    """The reply to what was said by somebody who was ``before`` until then.

    At most one for each change: whoever was out gets no second confirmation, which the
    law does not allow (47 CFR 64.1200(a)(12)), and no HELP, as Twilio has it too.
    """
    if not is_wanted(texts, meaning):
        return None
    is_news = {"out": before != "out", "in": before != "in", "help": before != "out"}
    said = meaning.meaning
    return _text_for(texts, meaning) if said and is_news[said] else None


def kind_of(meaning: Classification) -> ReplyKind:
    """What answers such a text, where we do."""
    kinds: dict[str | None, ReplyKind] = {
        "out": "stop",
        "in": "start",
        "help": "help",
    }
    return kinds.get(meaning.meaning, "handler")


def _text_for(texts: ReplyTexts, meaning: Classification) -> str | None:
    match meaning.meaning:
        case "out":
            return texts.stop
        case "in":
            return texts.start
        case "help":
            return texts.help
        case None:
            return None
