"""Our signature check and twilio's own: the same answer to every request."""

import string
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from multidict import MultiDict
from twilio.request_validator import RequestValidator

from ledger.errors import InvalidSignature
from ledger.webhook.signature import Parameters, SignatureChecker

ACCOUNT = "AC" + "a" * 32
TOKENS = ("old-token", "a-new-token-longer-than-a-block-of-SHA-1" * 2)
URLS = (
    "https://sms.example.com",
    "https://sms.example.com:8443",
    "http://10.0.0.1:8080",
    "https://sms.example.com/prefix",
)

fields = st.text(max_size=8) | st.sampled_from(
    ["", "Body", "STOP", "MediaUrl", "FromCity"]
)
# Few names, so that some are repeated, with equal and with other values.
forms = st.lists(st.tuples(fields, fields), max_size=8)
plain_paths = st.text(string.ascii_letters + string.digits + "/_.-", max_size=20).map(
    "/{}".format
)
paths = plain_paths | st.text(
    st.sampled_from(string.ascii_letters + "/_.-~%?&=+;:@!$'()*,[]#2F"), max_size=30
).map("/{}".format)
urls = st.sampled_from(URLS)


def ours(url: str, path: str, form: Parameters, signature: str | None) -> bool:
    """What our checker says."""
    checker = SignatureChecker(url, {ACCOUNT: TOKENS})
    try:
        checker.check(
            account_sid=ACCOUNT, raw_path=path, parameters=form, signature=signature
        )
    except InvalidSignature:
        return False
    return True


def twilios(url: str, path: str, form: Parameters, signature: str) -> bool:
    """What twilio's validator says, asked with each of the tokens."""
    given_form = MultiDict(form)
    answers = [
        RequestValidator(token).validate(url + path, given_form, signature)
        for token in TOKENS
    ]
    return any(answers)


def signed(url: str, path: str, form: Parameters, token: str) -> str:
    """What Twilio would send."""
    made: Any = RequestValidator(token).compute_signature(url + path, MultiDict(form))
    return str(made)


@given(urls, paths, forms, st.sampled_from(TOKENS))
@example(
    URLS[0],
    "/optInStatus",
    [("a", "2"), ("a", "1"), ("a", "2"), ("b", "")],
    "old-token",
)
@example(URLS[0], "/optInStatus?a=1", [], "new-token")
# What urlsplit drops, twilio's validator drops before it computes.
@example(URLS[0], "/optInStatus?", [], "new-token")
@example(URLS[0], "/optInStatus#", [("a", "1")], "new-token")
def test_what_twilio_signed_is_accepted_as_twilio_would(
    url: str, path: str, form: Parameters, token: str
) -> None:
    """Repeats, blanks, any language, any path, either token."""
    signature = signed(url, path, form, token)
    expected = twilios(url, path, form, signature)
    assert ours(url, path, form, signature) == expected


@given(urls, plain_paths, forms, st.sampled_from(TOKENS))
@example(URLS[0], "/a", [("a", "2"), ("a", "1"), ("a", "2"), ("A", "")], TOKENS[0])
def test_what_twilio_signed_for_a_plain_path_is_accepted_without_asking_twilios(
    url: str, path: str, form: Parameters, token: str
) -> None:
    """The fast way is enough for every text of every day."""
    signature = signed(url, path, form, token)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(RequestValidator, "validate", None)
        assert ours(url, path, form, signature)


@given(urls, paths, forms, st.text())
def test_a_made_up_signature_is_refused_by_both(
    url: str, path: str, form: Parameters, signature: str
) -> None:
    """A forgery is a forgery."""
    assert not ours(url, path, form, signature)
    assert not twilios(url, path, form, signature)


@given(urls, plain_paths, forms, forms)
def test_a_form_that_was_changed_is_refused_by_both(
    url: str, path: str, form: Parameters, other: Parameters
) -> None:
    """Unless it reads the same when its fields are put one after the other."""
    signature = signed(url, path, form, TOKENS[1])
    expected = twilios(url, path, other, signature)
    assert ours(url, path, other, signature) == expected
    if expected:
        assert read_as_signed(form) == read_as_signed(other)


def read_as_signed(form: Parameters) -> str:
    """The text that is signed, by Twilio's description of it."""
    return "".join(name + value for name, value in sorted(set(form)))


@given(urls, paths, paths, forms)
def test_a_path_that_was_changed_is_judged_alike(
    url: str, path: str, other: str, form: Parameters
) -> None:
    """A signature for one URL is not one for another."""
    assume(path != other)
    signature = signed(url, path, form, TOKENS[0])
    assert ours(url, other, form, signature) == twilios(url, other, form, signature)


@given(urls, plain_paths, forms, st.data())
def test_a_signature_with_one_character_changed_is_refused_by_both(
    url: str, path: str, form: Parameters, data: st.DataObject
) -> None:
    """Every character of it counts."""
    signature = signed(url, path, form, TOKENS[0])
    place = data.draw(st.integers(0, len(signature) - 1))
    letter = data.draw(st.sampled_from(string.ascii_letters + string.digits + "+/= é"))
    assume(letter != signature[place])
    changed = signature[:place] + letter + signature[place + 1 :]
    assert not ours(url, path, form, changed)
    assert not twilios(url, path, form, changed)


@given(urls, paths, forms, st.text(min_size=1, max_size=10))
def test_another_token_signs_for_nobody(
    url: str, path: str, form: Parameters, token: str
) -> None:
    """Only the account's own tokens count."""
    assume(token not in TOKENS)
    assert not ours(url, path, form, signed(url, path, form, token))


@given(urls, paths, forms)
def test_a_missing_signature_is_refused_and_no_fault(
    url: str, path: str, form: Parameters
) -> None:
    """Where twilio's validator raises a TypeError."""
    with pytest.raises(InvalidSignature, match="missing"):
        SignatureChecker(url, {ACCOUNT: TOKENS}).check(
            account_sid=ACCOUNT, raw_path=path, parameters=form, signature=None
        )
