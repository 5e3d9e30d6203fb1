"""Our reading of a form and urllib's: the same fields of every body."""

from urllib.parse import parse_qsl

from hypothesis import example, given
from hypothesis import strategies as st

from ledger.webhook.parse import parse_form

# What divides, what escapes, and bytes that are a character only together.
pieces = st.sampled_from(
    "a 2 & = + ; % %2B %2b %25 %26 %3D %3d %00 %C3 %A9 %F0%9F%9B%91 %ED%A0%80 é".split()
)
bodies = st.lists(pieces | st.text(max_size=2), max_size=20).map("".join)


@given(bodies)
@example("a=%%2B41&%2B=%2%2B&b=%252B")
@example("a=%F0%9F%2B&b=%C3&=%A9")
def test_a_form_is_read_as_urllib_reads_it(body: str) -> None:
    """Repeated and blank fields too, and whatever is not UTF-8 replaced."""
    expected = parse_qsl(body, keep_blank_values=True, errors="replace")
    assert parse_form(body) == expected


@given(st.binary(max_size=40) | bodies.map(str.encode))
def test_a_body_is_read_as_the_text_that_it_is(body: bytes) -> None:
    """Bytes that are not UTF-8 are replaced before anything else."""
    assert parse_form(body) == parse_form(body.decode("utf-8", "replace"))
