"""What a text means: the tables of section 5 of the design, with hard examples."""

import pytest

from ledger.domain.classify import (
    NOTHING,
    Classification,
    Meaning,
    Vocabulary,
    classify,
    keyword_of,
)

DEFAULT = Vocabulary()

OUT_KEYWORDS = [
    ("STOP", "stop"),
    ("stop", "stop"),
    ("STOP.", "stop"),
    (" stop ", "stop"),
    ("Stop!", "stop"),
    ("sToP", "stop"),
    ("\n\tSTOP\r\n", "stop"),
    ('"STOP"', "stop"),
    ("*STOP*", "stop"),
    ("__stop__", "stop"),
    ("(Stop)...", "stop"),
    ("¡STOP!", "stop"),
    ("ＳＴＯＰ", "stop"),  # noqa: RUF001 - full-width letters, as some keyboards send
    ("ｓｔｏｐ！", "stop"),  # noqa: RUF001 - with a full-width exclamation mark
    ("STOP 🛑", "stop"),
    ("🛑✋🏽STOP", "stop"),
    ("STOP\N{VARIATION SELECTOR-16}", "stop"),
    ("STOP\0", "stop"),
    ("ST\0OP", "stop"),
    ("\N{ZERO WIDTH SPACE}STOP\N{ZERO WIDTH NO-BREAK SPACE}", "stop"),
    ("S\N{SOFT HYPHEN}TOP", "stop"),
    ("\N{NO-BREAK SPACE}STOP\N{IDEOGRAPHIC SPACE}", "stop"),
    ("STOPALL", "stopall"),
    ("UNSUBSCRIBE", "unsubscribe"),
    ("Cancel", "cancel"),
    ("END", "end"),
    ("QUIT", "quit"),
    ("Revoke", "revoke"),
    ("OPTOUT", "optout"),
    ("opt out", "opt out"),
    ("Opt  Out.", "opt out"),
    ("OPT\nOUT", "opt out"),
    ("OPT-OUT", "opt-out"),
    ("opt-out!", "opt-out"),
    ("ARRET", "arret"),
    ("ARRÊT", "arrêt"),
    ("arre\N{COMBINING CIRCUMFLEX ACCENT}t", "arrêt"),
]


@pytest.mark.parametrize(("body", "keyword"), OUT_KEYWORDS)
def test_a_stop_word_opts_out_however_it_is_written(body: str, keyword: str) -> None:
    """Case, outer punctuation, blanks, width and invisible signs do not matter."""
    assert classify(body, None, DEFAULT) == Classification("out", "keyword", keyword)


@pytest.mark.parametrize(
    ("body", "meaning", "keyword"),
    [
        ("START", "in", "start"),
        ("Unstop", "in", "unstop"),
        ("yes!", "in", "yes"),
        ("YES 👍", "in", "yes"),
        ("ｙｅｓ", "in", "yes"),  # noqa: RUF001 - full-width
        ("HELP", "help", "help"),
        ("info?", "help", "info"),
    ],
)
def test_words_that_opt_in_and_ask_for_help(
    body: str, meaning: Meaning, keyword: str
) -> None:
    """START, UNSTOP and YES opt in; HELP and INFO ask for help."""
    assert classify(body, None, DEFAULT) == Classification(meaning, "keyword", keyword)


@pytest.mark.parametrize(
    "body",
    [
        "STOP PLEASE",
        "please stop texting me",
        "Remove me from your list",
        "remove my number",
        "take me off this list!!",
        "I want to opt out",
        "please opt out",
        "Opt out please",
        "opt_out",
        "OPT\N{EN DASH}OUT",
        "opt me out",
        "Unsubscribe me",
        "don't text me",
        "Don\N{RIGHT SINGLE QUOTATION MARK}t text me again",
        "DONT TEXT ME",
        "do not contact me",
        "no more messages",
        "not interested",
        "leave me alone",
        "I revoke my consent",
        "ok stop",
        "STOP STOP STOP",
        "stop it now",
        "Stop, thanks",
        "STOP. Please remove me. 🙏",
        "hi\nplease\nstop",
        "stop these messages",
        "STOP\n\nSent from my iPhone",
        "\nStop, please!\r\nAnn Example\nSome Company",
        "ne m'envoyez plus de messages",
        "arrêt s'il vous plaît",
        "Por favor dejen de enviar mensajes",
        "no me envíen mensajes",
        "no más mensajes",
        "ＰＬＥＡＳＥ　ＳＴＯＰ",  # noqa: RUF001 - full-width
        "please stop texting me " + "x" * 1577,
        "x" * 1585 + " unsubscribe me",
    ],
)
def test_free_text_that_reads_as_a_revocation_opts_out(body: str) -> None:
    """What a reasonable person reads as a revocation is one, marked as free text."""
    assert classify(body, None, DEFAULT) == Classification("out", "freeText")


@pytest.mark.parametrize(
    "body",
    [
        "",
        " ",
        "\0",
        "...",
        "👍",
        "😀" * 1600,
        "x" * 1600,
        "hello",
        "thanks",
        "please",
        "yes please",
        "start now",
        "where is the bus stop by the river",
        "nonstop",
        "stopwatch",
        "the weekend",
        "see you at the\nend",
        "I am interested",
        "S T O P P E R",
        "infohelp",
    ],
)
def test_other_texts_say_nothing_of_consent(body: str) -> None:
    """A text without a keyword and without a revocation changes nothing."""
    assert classify(body, None, DEFAULT) == NOTHING


@pytest.mark.parametrize(
    ("opt_out_type", "meaning"),
    [("STOP", "out"), ("START", "in"), ("HELP", "help"), (" stop ", "out")],
)
@pytest.mark.parametrize("body", ["STOP", "START", "HELP", "BAJA", "stop texting", ""])
def test_what_twilio_says_wins_over_the_body(
    opt_out_type: str, meaning: Meaning, body: str
) -> None:
    """OptOutType decides, whatever the text says."""
    found = classify(body, opt_out_type, DEFAULT)
    assert (found.meaning, found.matched_by) == (meaning, "optOutType")


@pytest.mark.parametrize("opt_out_type", [None, "", "stopped", "BLOCK", "OUT"])
def test_an_unknown_opt_out_type_leaves_the_decision_to_the_body(
    opt_out_type: str | None,
) -> None:
    """A value that Twilio does not document neither opts out nor hides a STOP."""
    assert classify("STOP", opt_out_type, DEFAULT).meaning == "out"
    assert classify("hello", opt_out_type, DEFAULT) == NOTHING


def test_a_language_is_added_by_configuration() -> None:
    """More words and phrases, in any spelling, count as the built-in ones do."""
    spanish = DEFAULT.with_more(
        out_words=["BAJA", "Darse de baja"],
        in_words=["ALTA!"],
        help_words=["Ayuda"],
        out_phrases=["no, quiero MÁS"],
    )
    assert classify("baja.", None, spanish).meaning == "out"
    assert classify("darse  de baja", None, spanish).keyword == "darse de baja"
    assert classify("alta", None, spanish).meaning == "in"
    assert classify("¿AYUDA?", None, spanish).meaning == "help"
    assert classify("Ya no quiero más, gracias", None, spanish).matched_by == "freeText"
    assert classify("STOP", None, spanish).meaning == "out"


def test_a_word_that_is_configured_both_ways_opts_out() -> None:
    """Where in doubt, out."""
    doubtful = DEFAULT.with_more(out_words=["si"], in_words=["si"], help_words=["si"])
    assert classify("si", None, doubtful).meaning == "out"


@pytest.mark.parametrize("word", ["", "...", "👍", "\0"])
def test_a_configured_word_of_punctuation_alone_matches_nothing(word: str) -> None:
    """A picture as a keyword does not make every empty text an opt-in."""
    odd = DEFAULT.with_more(out_words=[word], in_words=[word], out_phrases=[word])
    for body in ("", "📷", "!!!", "hello"):
        assert classify(body, None, odd) == NOTHING


def test_free_text_can_be_left_to_people() -> None:
    """Without free text only exact keywords opt out."""
    strict = DEFAULT.with_more(free_text=False)
    assert classify("please stop texting me", None, strict) == NOTHING
    assert classify("STOP", None, strict).meaning == "out"


def test_no_phrases_at_all_match_nothing() -> None:
    """An empty list of phrases is not a pattern that matches everything."""
    bare = Vocabulary(out_phrases=frozenset())
    assert classify("hello", None, bare) == NOTHING
    assert classify("ok stop", None, bare).meaning == "out"


@pytest.mark.parametrize(
    ("body", "keyword"),
    [
        ("", ""),
        ("a  b", "a b"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("ﬁn", "fin"),
        ("opt-out", "opt-out"),
        ("-opt-out-", "opt-out"),
    ],
)
def test_a_keyword_is_folded_and_has_no_edges(body: str, keyword: str) -> None:
    """Only what stands around the text goes; what stands inside it stays."""
    assert keyword_of(body) == keyword
