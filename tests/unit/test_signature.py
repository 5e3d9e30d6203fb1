"""Twilio's signature, by its documentation's example and by every way to get it wrong.

That the fast path equals twilio's validator is in ``test_signature_properties``.
"""

import hashlib

import pytest
from twilio.request_validator import RequestValidator

from ledger.errors import InvalidSignature
from ledger.webhook.signature import Parameters, SignatureChecker, check_body_hash

URL = "https://sms.example.com"
PATH = "/optInStatus"
MAIN, SUB = "AC" + "a" * 32, "AC" + "b" * 32
OLD, NEW = "old-token", "new-token"
TOKENS = {MAIN: [OLD, NEW], SUB: ["sub-token"]}
FORM = [("From", "+14155550100"), ("Body", "STOP"), ("FromCity", "")]
CHECKER = SignatureChecker(URL, TOKENS)


def signature_of(url: str, form: Parameters = (), token: str = NEW) -> str:
    """What Twilio would send."""
    return str(RequestValidator(token).compute_signature(url, dict(form)))


def accepts(
    signature: str | None,
    *,
    checker: SignatureChecker = CHECKER,
    account_sid: str = MAIN,
    raw_path: str = PATH,
    form: Parameters = FORM,
) -> bool:
    """Whether the checker takes the request for Twilio's."""
    try:
        checker.check(
            account_sid=account_sid,
            raw_path=raw_path,
            parameters=form,
            signature=signature,
        )
    except InvalidSignature:
        return False
    return True


def test_the_example_of_twilios_documentation_is_accepted() -> None:
    """The vector of https://www.twilio.com/docs/usage/security."""
    form = [
        ("CallSid", "CA1234567890ABCDE"),
        ("Caller", "+14158675310"),
        ("Digits", "1234"),
        ("From", "+14158675310"),
        ("To", "+18005551212"),
    ]
    checker = SignatureChecker("https://example.com", {MAIN: ["12345"]})
    path = "/myapp.php?foo=1&bar=2"
    given = "L/OH5YylLD5NRKLltdqwSvS0BnU="
    assert accepts(given, checker=checker, raw_path=path, form=form)
    assert not accepts(given, checker=checker, raw_path="/myapp.php", form=form)


@pytest.mark.parametrize("path", [PATH, "/twilio/incoming-message", "/", "/a.b-c_d/e"])
def test_a_form_that_twilio_signed_is_accepted(path: str) -> None:
    """Over the public URL, the path and every field, blank ones too."""
    assert accepts(signature_of(URL + path, FORM), raw_path=path)


@pytest.mark.parametrize(
    "path",
    [
        "/optInStatus?Body=STOP&From=%2B14155550100&FromCity=",
        "/optInStatus?b=2&a=1",
        "/opt%49nStatus",
        "/optInStatus;v=1",
        "/caf%C3%A9?x='",
    ],
)
def test_a_get_is_signed_over_its_query_as_it_was_sent(path: str) -> None:
    """Nothing is parsed and put together again."""
    assert accepts(signature_of(URL + path), raw_path=path, form=())
    assert not accepts(signature_of(URL + path), raw_path=path + "&", form=())


@pytest.mark.parametrize(
    "form",
    [
        [("MediaUrl", "b"), ("MediaUrl", "a"), ("Body", "")],
        [("Body", "x"), ("Body", "x")],
        [("a", "bc"), ("ab", "c"), ("A", "1")],
        [("Body", "ÀÉ🛑\0\r\n"), ("ключ", "значение")],
        [("", ""), ("=", "&")],
        [],
    ],
)
def test_repeated_blank_and_odd_fields_are_signed_too(form: Parameters) -> None:
    """Repeated values count once each, in order of their bytes, as twilio does it."""
    together = {name: sorted({v for n, v in form if n == name}) for name, _ in form}
    text = "".join(n + v for n, values in sorted(together.items()) for v in values)
    assert accepts(signature_of(URL + PATH + text), form=form)


def test_both_tokens_are_good_while_one_is_being_rotated() -> None:
    """Twilio signs with the primary one, whichever that is at the moment."""
    for token in TOKENS[MAIN]:
        assert accepts(signature_of(URL + PATH, FORM, token))
        with_query = PATH + "?a=1"
        assert accepts(signature_of(URL + with_query, FORM, token), raw_path=with_query)
    assert not accepts(signature_of(URL + PATH, FORM, "older-token"))


def test_a_subaccounts_token_signs_for_that_subaccount_alone() -> None:
    """Who has one account's token cannot speak for another account."""
    given = signature_of(URL + PATH, FORM, "sub-token")
    assert accepts(given, account_sid=SUB)
    assert not accepts(given, account_sid=MAIN)
    assert not accepts(signature_of(URL + PATH, FORM), account_sid=SUB)


GOOD = signature_of(URL + PATH, FORM)


@pytest.mark.parametrize(
    "signature",
    [
        None,
        "",
        "x",
        GOOD[:-1],
        GOOD + "=",
        GOOD.lower(),
        " " + GOOD,
        f"{GOOD},{GOOD}",
        "é" * 28,
        "\udcff" * 28,
        signature_of("http://sms.example.com" + PATH, FORM),
        signature_of("https://sms.example.org" + PATH, FORM),
        signature_of(URL + "/", FORM),
        signature_of(URL + PATH + "/", FORM),
        signature_of(URL + PATH + "?", FORM),
        signature_of(URL + PATH, FORM[:-2]),
        signature_of(URL + PATH, [*FORM, ("More", "1")]),
        signature_of(URL + PATH),
        signature_of(URL + PATH, FORM, ""),
    ],
)
def test_a_request_that_twilio_did_not_sign_is_refused(signature: str | None) -> None:
    """Missing, cut, altered, or made for another URL, form or token."""
    assert not accepts(signature)


@pytest.mark.parametrize("account_sid", ["", "AC" + "c" * 32, MAIN.lower(), "*"])
def test_an_account_that_is_not_ours_is_refused(account_sid: str) -> None:
    """No token, no trust."""
    assert not accepts(GOOD, account_sid=account_sid)


@pytest.mark.parametrize(
    ("public_url", "signed_url"),
    [
        ("https://user:pass@sms.example.com", "https://sms.example.com"),
        ("https://user:pass@sms.example.com:8443", "https://sms.example.com:8443"),
        ("https://sms.example.com:8443", "https://sms.example.com:8443"),
        ("https://sms.example.com", "https://sms.example.com:443"),
        ("https://sms.example.com:443", "https://sms.example.com"),
        ("http://sms.example.com", "http://sms.example.com:80"),
        ("https://sms.example.com/prefix", "https://sms.example.com/prefix"),
        ("https://sms.example.com#rc=3&rp=all", "https://sms.example.com"),
    ],
)
def test_the_public_url_is_taken_as_twilio_signs_it(
    public_url: str, signed_url: str
) -> None:
    """Without credentials and fragment; the port may be there or not."""
    checker = SignatureChecker(public_url, TOKENS)
    assert accepts(signature_of(signed_url + PATH, FORM), checker=checker)


@pytest.mark.parametrize(
    ("public_url", "signed_url"),
    [
        ("https://sms.example.com", "https://sms.example.com:8443"),
        ("https://sms.example.com", "http://sms.example.com:443"),
        ("https://sms.example.com", "https://sms.example.com.evil.org"),
    ],
)
def test_another_port_scheme_or_host_is_another_url(
    public_url: str, signed_url: str
) -> None:
    """A signature for a neighbour is not one for us."""
    checker = SignatureChecker(public_url, TOKENS)
    assert not accepts(signature_of(signed_url + PATH, FORM), checker=checker)


BODY = b'{"Body":"STOP"}'
HASH = hashlib.sha256(BODY).hexdigest()


def test_a_json_body_is_bound_to_the_url_by_its_hash() -> None:
    """The hash that Twilio put into the signed URL is the body's."""
    check_body_hash(f"{PATH}?bodySHA256={HASH}", BODY)
    check_body_hash(f"{PATH}?a=1&bodySHA256={HASH}&b=2", BODY)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?",
        "?bodySHA256=",
        f"?bodySHA256={HASH[:-1]}",
        f"?bodySHA256={HASH.upper()}",
        f"?bodysha256={HASH}",
        "?bodySHA256=%C3%A9",
        f"?bodySHA256={hashlib.sha256(b'{}').hexdigest()}&bodySHA256={HASH}",
    ],
)
def test_a_json_body_without_its_hash_is_refused(query: str) -> None:
    """The body itself is not signed, so its hash must be there and right."""
    with pytest.raises(InvalidSignature, match="bodySHA256"):
        check_body_hash(PATH + query, BODY)
