"""What a text means for consent: out, in, help, or nothing.

Pure and total: every text has an answer. Never consults the person's history; that is
``consent.decide``. The subtle part is the order: Twilio's own ``OptOutType`` wins,
then exact keywords, then free text, and where it is doubtful, out.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

Meaning = Literal["out", "in", "help"]
MatchedBy = Literal["optOutType", "keyword", "freeText", "explicit", "error21610"]

OUT_WORDS: Final = frozenset(
    (
        *"stop stopall unsubscribe cancel end quit revoke optout arret arrêt".split(),
        "opt out",
        "opt-out",
    )
)
"""Twilio's default stop words, the FCC's "opt out" (47 CFR 64.1200(a)(10)), French."""

IN_WORDS: Final = frozenset(("start", "unstop", "yes"))
HELP_WORDS: Final = frozenset(("help", "info"))

OUT_PHRASES: Final = frozenset(
    (
        "stop texting",
        "stop text",
        "stop messaging",
        "stop messages",
        "stop contacting",
        "stop sending",
        "stop bothering",
        "stop calling",
        "stop all",
        "please stop",
        "pls stop",
        "remove me",
        "remove my number",
        "remove this number",
        "delete my number",
        "lose my number",
        "take me off",
        "take my number off",
        "opt out",
        "opt me out",
        "opting out",
        "unsubscribe me",
        "want to unsubscribe",
        "like to unsubscribe",
        "do not text",
        "don t text",
        "dont text",
        "do not message",
        "don t message",
        "dont message",
        "do not contact",
        "don t contact",
        "dont contact",
        "do not send",
        "don t send",
        "dont send",
        "no more texts",
        "no more messages",
        "not interested",
        "quit texting",
        "quit messaging",
        "leave me alone",
        "revoke my consent",
        "revoke consent",
        "withdraw my consent",
        "withdraw consent",
        "cancel my subscription",
        "cancel subscription",
        "ne plus m envoyer",
        "ne m envoyez plus",
        "deja de enviar",
        "dejen de enviar",
        "no me envien",
        "no mas mensajes",
    )
)
"""Words in a row that a reasonable person reads as a revocation."""

_FILLERS: Final = frozenset(
    "please pls plz now thanks thank you it this that these all the texts text "
    "messages message me i said want to just already immediately and ok okay hey hi "
    "s il vous plait por favor".split()
)

_OPT_OUT_TYPES: Final[dict[str, Meaning]] = {
    "STOP": "out",
    "START": "in",
    "HELP": "help",
}
_EDGES = re.compile(r"^[\W_]+|[\W_]+$")
_SPLIT = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The words and phrases in force; the defaults, and what configuration adds."""

    out_words: frozenset[str] = OUT_WORDS
    in_words: frozenset[str] = IN_WORDS
    help_words: frozenset[str] = HELP_WORDS
    out_phrases: frozenset[str] = OUT_PHRASES
    free_text: bool = True
    _phrases: "re.Pattern[str]" = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compile the phrases once: thousands of texts a second are matched."""
        phrases = sorted(
            {" ".join(_words(phrase)) for phrase in self.out_phrases} - {""}
        )
        pattern = "|".join(map(re.escape, phrases)) or "(?!)"
        object.__setattr__(
            self, "_phrases", re.compile(rf"(?:^| )(?:{pattern})(?: |$)")
        )

    def with_more(
        self,
        *,
        out_words: Iterable[str] = (),
        in_words: Iterable[str] = (),
        help_words: Iterable[str] = (),
        out_phrases: Iterable[str] = (),
        free_text: bool = True,
    ) -> "Vocabulary":
        """This vocabulary and more of each kind, in any spelling."""
        return Vocabulary(
            out_words=self.out_words | _keywords(out_words),
            in_words=self.in_words | _keywords(in_words),
            help_words=self.help_words | _keywords(help_words),
            out_phrases=self.out_phrases | set(out_phrases),
            free_text=free_text,
        )

    def revokes(self, body: str) -> bool:
        """Whether free text would be read as a revocation by a reasonable person."""
        words = _words(body)
        if self._are_out(words) or self._are_out(_first_line(body)):
            return True
        return self._phrases.search(" ".join(words)) is not None

    def _are_out(self, words: Iterable[str]) -> bool:
        kept = [word for word in words if word not in _FILLERS]
        return bool(kept) and self.out_words.issuperset(kept)


class Classification(NamedTuple):
    """What a text means, by which rule, and the keyword where one was matched."""

    meaning: Meaning | None
    matched_by: MatchedBy | None = None
    keyword: str | None = None


NOTHING: Final = Classification(None)


def classify(
    body: str, opt_out_type: str | None, vocabulary: Vocabulary
) -> Classification:
    """What a text means for consent.

    ``opt_out_type`` is Twilio's ``OptOutType``, which only Advanced Opt-Out sends; it
    wins. A value that Twilio does not document is ignored and the body decides.
    """
    keyword = keyword_of(body)
    stated = stated_by(opt_out_type)
    if stated is not None:
        return Classification(stated, "optOutType", keyword)
    if keyword in vocabulary.out_words:
        return Classification("out", "keyword", keyword)
    if keyword in vocabulary.in_words:
        return Classification("in", "keyword", keyword)
    if keyword in vocabulary.help_words:
        return Classification("help", "keyword", keyword)
    if vocabulary.free_text and vocabulary.revokes(body):
        return Classification("out", "freeText")
    return NOTHING


def stated_by(opt_out_type: str | None) -> Meaning | None:
    """What Twilio says that a text means, if it does."""
    return _OPT_OUT_TYPES.get((opt_out_type or "").strip().upper())


def keyword_of(body: str) -> str:
    """The text as a keyword: case folded, without outer punctuation and blanks.

    CTIA's Messaging Principles (May 2023) say that case and punctuation must not
    matter; NFKC makes full-width letters plain; invisible characters go.
    """
    if body.isascii() and body.isalpha():
        return body.lower()
    return " ".join(_EDGES.sub("", _plain(body)).split())


def _keywords(words: Iterable[str]) -> set[str]:
    """The words as keywords; one of pictures alone would match every empty text."""
    return set(map(keyword_of, words)) - {""}


def _words(body: str) -> list[str]:
    """The words of a text, without accents: people leave them out, or do not."""
    text = _plain(body)
    if not text.isascii():
        letters = unicodedata.normalize("NFKD", text)
        text = "".join(a for a in letters if not unicodedata.combining(a))
    return [word for word in _SPLIT.split(text) if word]


def _first_line(body: str) -> list[str]:
    """The words of a text's first line, where more follow: a signature, mostly."""
    lines = body.splitlines()
    if len(lines) < 2:  # noqa: PLR2004 - it is the text itself
        return []
    return next(filter(None, map(_words, lines)), [])


def _plain(body: str) -> str:
    text = unicodedata.normalize("NFKC", body)
    visible = (
        " " if character.isspace() else character
        for character in text
        if character.isspace() or unicodedata.category(character) not in ("Cc", "Cf")
    )
    return "".join(visible).casefold()
