"""Laws of reading a text, over texts that nobody would think of."""

import string

from hypothesis import given
from hypothesis import strategies as st

from ledger.domain.classify import (
    HELP_WORDS,
    IN_WORDS,
    OUT_PHRASES,
    OUT_WORDS,
    Classification,
    Vocabulary,
    classify,
    keyword_of,
)

DEFAULT = Vocabulary()
FULL_WIDTH = {ord(a): ord(a) + 0xFEE0 for a in string.ascii_letters}

# Lone surrogates too: JSON can carry what no database keeps.
any_text = st.text(st.characters(exclude_categories=()), max_size=200)
keywords = st.sampled_from(sorted(OUT_WORDS | IN_WORDS | HELP_WORDS))
phrases = st.sampled_from(sorted(OUT_PHRASES))
edges = st.text(st.sampled_from(" \t\r\n.,!?*_-'\"()…。¡✋🛑\0\u200b\u00a0\ufe0f"))
ascii_text = st.text(st.sampled_from(string.printable), max_size=60)


@st.composite
def spelt(draw: st.DrawFn, words: st.SearchStrategy[str]) -> tuple[str, str]:
    """Some words, and the same in letters of any case and width."""
    plain = draw(words)
    upper = draw(st.lists(st.booleans(), min_size=len(plain), max_size=len(plain)))
    text = "".join(a.upper() if up else a for a, up in zip(plain, upper, strict=True))
    return plain, text.translate(FULL_WIDTH) if draw(st.booleans()) else text


@given(any_text, st.none() | any_text)
def test_every_text_has_an_answer(body: str, opt_out_type: str | None) -> None:
    """Reading never fails, and an answer always says by which rule."""
    found = classify(body, opt_out_type, DEFAULT)
    assert (found.meaning is None) == (found.matched_by is None)


@given(spelt(keywords), edges, edges)
def test_case_width_and_what_stands_around_a_keyword_do_not_matter(
    word: tuple[str, str], before: str, after: str
) -> None:
    """A keyword between any blanks and signs is the keyword."""
    plain, text = word
    expected = classify(plain, None, DEFAULT)
    assert expected.meaning is not None
    assert classify(before + text + after, None, DEFAULT) == expected


@given(any_text, edges, edges)
def test_what_stands_around_any_text_does_not_matter(
    body: str, before: str, after: str
) -> None:
    """Not for other texts either."""
    # A mark that joins a letter before it, put first, has no letter to join: so the
    # edge is kept apart by a blank.
    around = f"{before} {body} {after}"
    assert classify(around, None, DEFAULT) == classify(body, None, DEFAULT)


@given(ascii_text)
def test_case_does_not_matter_for_any_text(body: str) -> None:
    """People shout."""
    expected = classify(body, None, DEFAULT)
    assert classify(body.upper(), None, DEFAULT) == expected
    assert classify(body.lower(), None, DEFAULT) == expected


@given(ascii_text, spelt(phrases), ascii_text)
def test_a_phrase_of_revocation_counts_wherever_it_stands(
    before: str, phrase: tuple[str, str], after: str
) -> None:
    """Politeness around it takes nothing away."""
    body = f"{before} {phrase[1]} {after}"
    assert classify(body, None, DEFAULT).meaning == "out"


@given(any_text, st.sampled_from([("STOP", "out"), ("START", "in"), ("HELP", "help")]))
def test_what_twilio_says_wins_over_any_text(
    body: str, stated: tuple[str, str]
) -> None:
    """OptOutType decides."""
    found = classify(body, stated[0], DEFAULT)
    assert (found.meaning, found.matched_by) == (stated[1], "optOutType")


@given(any_text)
def test_without_free_text_only_keywords_count(body: str) -> None:
    """And a keyword means the same with it and without it."""
    strict = DEFAULT.with_more(free_text=False)
    loose = classify(body, None, DEFAULT)
    expected = Classification(None) if loose.matched_by == "freeText" else loose
    assert classify(body, None, strict) == expected


@given(any_text, st.lists(any_text, max_size=3), st.lists(any_text, max_size=3))
def test_more_words_never_take_a_revocation_away(
    body: str, out_words: list[str], out_phrases: list[str]
) -> None:
    """What opted out goes on to do so, whatever is configured on top."""
    more = DEFAULT.with_more(out_words=out_words, out_phrases=out_phrases)
    if classify(body, None, DEFAULT).meaning == "out":
        assert classify(body, None, more).meaning == "out"


@given(any_text)
def test_a_configured_word_matches_itself(word: str) -> None:
    """Unless there is nothing to it but signs; then it matches nothing."""
    found = classify(word, None, DEFAULT.with_more(out_words=[word], free_text=False))
    if keyword_of(word):
        assert found.meaning == "out"
    else:
        assert found.meaning is None


@given(st.text(string.ascii_letters, min_size=1))
def test_the_short_way_to_a_keyword_is_the_long_way(word: str) -> None:
    """Plain letters, which most keywords are, take a faster path to the same."""
    assert keyword_of(word) == keyword_of(f"{word}.")
