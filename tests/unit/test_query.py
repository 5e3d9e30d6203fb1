"""Query strings as clients of the peer send them, and as ours may."""

from datetime import UTC, datetime

import pytest

from ledger import errors
from ledger.api.formats import COLUMNS, SENDER_COLUMNS, Selection, next_page
from ledger.api.query import Bound, Cursor, ListQuery, parse_query
from ledger.domain.ids import Answer, Sender

EVERY: tuple[tuple[Answer, ...], ...] = (("in", "out", "unknown"),)
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
TIME = "2026-01-01T00:00:00Z"


def range_of(raw: str) -> tuple[str, Bound | None, Bound | None]:
    """The order key of a query's range, and its two ends."""
    query = parse_query(raw)
    return query.order_by, query.lower, query.upper


def test_an_empty_query_lists_every_number_in_order() -> None:
    """Without a query, the first hundred numbers of all statuses are listed."""
    assert parse_query("") == ListQuery(
        statuses=EVERY,
        sender=None,
        order_by="phoneNumber",
        descending=False,
        lower=None,
        upper=None,
        excluded=frozenset(),
        updated_since=None,
        limit=100,
        offset=0,
        selection=Selection(COLUMNS, "objects"),
    )


def test_empty_parts_are_passed_over() -> None:
    """Ampersands at the ends, or two in a row, mean nothing."""
    assert parse_query("&status=out&&") == parse_query("status=out")


@pytest.mark.parametrize(
    "raw",
    [
        "status=out",
        "status==out",
        "status===out",
        "status=eq=out",
        "status!=in",
        "status!==in",
        "status=ne=in",
        "status==ne=in",
        "status==string:out",
        "status=out&status=out",
        "st%61tus=ou%74",
    ],
)
def test_a_status_can_be_asked_for_in_every_form_of_the_peer(raw: str) -> None:
    """And inequality is equality with one of the others."""
    differs = "!" in raw or "=ne=" in raw
    assert parse_query(raw).statuses == (("out", "unknown") if differs else ("out",),)


@pytest.mark.parametrize("raw", ["status=in&status=out", "sender=MG1&sender=MG2"])
def test_a_contradiction_is_a_valid_query_without_an_answer(raw: str) -> None:
    """What no record can be is asked of no record."""
    assert parse_query(raw).statuses == ()
    assert parse_query(f"{raw}&sort(status)").statuses == ()


@pytest.mark.parametrize(
    ("raw", "lower", "upper"),
    [
        ("phoneNumber=%2B1415", Bound("+1415", True), Bound("+1415", True)),
        ("phoneNumber===%2B1415", Bound("+1415", True), Bound("+1415", True)),
        ("phoneNumber=gt=%2B1415", Bound("+1415", False), None),
        ("phoneNumber>%2B1415", Bound("+1415", False), None),
        ("phoneNumber%3E%2B1415", Bound("+1415", False), None),
        ("phoneNumber=ge=%2B1415", Bound("+1415", True), None),
        ("phoneNumber>=%2B1415", Bound("+1415", True), None),
        ("phoneNumber%3e=%2B1415", Bound("+1415", True), None),
        ("phoneNumber=lt=%2B1415", None, Bound("+1415", False)),
        ("phoneNumber<%2B1415", None, Bound("+1415", False)),
        ("phoneNumber=le=%2B1415", None, Bound("+1415", True)),
        ("phoneNumber%3C=%2B1415", None, Bound("+1415", True)),
        ("phoneNumber=gt=%2B", Bound("+", False), None),
        ("phoneNumber=sw=%2B1415", Bound("+1415", True), Bound("+1416", False)),
        ("phoneNumber==%2B1415*", Bound("+1415", True), Bound("+1416", False)),
        ("phoneNumber=eq=%2B1415*", Bound("+1415", True), Bound("+1416", False)),
        ("phoneNumber=%2B1415%2A", Bound("+1415", True), Bound("+1416", False)),
        ("phoneNumber=sw=%2B1419", Bound("+1419", True), Bound("+141:", False)),
        ("phoneNumber===A*", Bound("A*", True), Bound("A*", True)),
        ("phoneNumber=sw=A*", Bound("A*", True), Bound("A+", False)),
        ("phoneNumber=string:%2B1", Bound("+1", True), Bound("+1", True)),
        (
            "phoneNumber=whatsapp:A",
            Bound("whatsapp:A", True),
            Bound("whatsapp:A", True),
        ),
    ],
)
def test_comparisons_of_a_number_are_one_range(
    raw: str, lower: Bound | None, upper: Bound | None
) -> None:
    """Every comparison, a prefix too, is a range over the phone number."""
    assert range_of(raw) == ("phoneNumber", lower, upper)


@pytest.mark.parametrize("raw", ["phoneNumber=+1415", "phoneNumber=%201415"])
def test_a_plus_that_became_a_space_is_a_plus_again(raw: str) -> None:
    """A space and then a digit is the plus of a number, whoever decoded it."""
    assert range_of(raw) == range_of("phoneNumber=%2B1415")


def test_a_plus_in_a_sender_is_understood_as_well() -> None:
    """A sender that is a number may come with a bare plus."""
    assert parse_query("sender=+1415").sender == Sender("+1415")


@pytest.mark.parametrize(
    "raw",
    [
        "phoneNumber=gt=a&lt=b",
        "phoneNumber=gt=a&=lt=b",
        "phoneNumber=gt=a&limit(100)&lt=b",
        "phoneNumber=gt=a&phoneNumber=lt=b",
        "phoneNumber>a&phoneNumber<b",
        "phoneNumber=ge=0&phoneNumber=gt=a&lt=b&le=b&le=c",
        "phoneNumber=gt=a&ge=a&lt=b",
    ],
)
def test_a_range_can_be_chained(raw: str) -> None:
    """A chain as the peer documents it, as it works, and repeated, is one range."""
    expected = ("phoneNumber", Bound("a", False), Bound("b", False))
    assert range_of(raw) == expected


@pytest.mark.parametrize(
    ("raw", "lower"),
    [
        ("position=gt=12", Bound(12, False)),
        ("position=gt=number:12", Bound(12, False)),
        ("position=ge=-1", Bound(-1, True)),
        (f"since=ge={TIME}", Bound(NEW_YEAR, True)),
        (f"since=ge=date:{TIME}", Bound(NEW_YEAR, True)),
        ("since=ge=2026-01-01T00%3A00%3A00.000Z", Bound(NEW_YEAR, True)),
        ("since=ge=2026-01-01T02:00:00%2B02:00", Bound(NEW_YEAR, True)),
        ("since=ge=2026-01-01T02:00:00+02:00", Bound(NEW_YEAR, True)),
    ],
)
def test_positions_and_times_are_ranges_in_their_own_order(
    raw: str, lower: Bound
) -> None:
    """A range over positions or times is read in that order."""
    assert range_of(raw) == (raw.partition("=")[0], lower, None)


def test_numbers_can_be_excluded_from_any_list() -> None:
    """Inequality with a number leaves it out, whatever the order and the range."""
    query = parse_query("phoneNumber!=+1&phoneNumber=ne=%2B2&position=gt=1")
    assert query.excluded == {"+1", "+2"}
    assert range_of("phoneNumber!=a&=gt=b")[1] == Bound("b", False)


def test_every_sender_is_a_sender() -> None:
    """An asterisk is the sender ``*`` and not a prefix."""
    query = parse_query("sender==*&status=out")
    assert query.sender == "*"
    assert query.selection == Selection(SENDER_COLUMNS, "objects")


@pytest.mark.parametrize(
    ("raw", "order_by", "descending"),
    [
        ("sort(phoneNumber)", "phoneNumber", False),
        ("sort(+phoneNumber)", "phoneNumber", False),
        ("sort(%2BphoneNumber)", "phoneNumber", False),
        ("sort(-phoneNumber)", "phoneNumber", True),
        ("sort(-position)", "position", True),
        ("status=out&sort(-since)", "since", True),
        (f"since=gt={TIME}&sort(-since)", "since", True),
        ("sender=MG1&sort(-phoneNumber)", "phoneNumber", True),
        (f"updatedSince={TIME}", "position", False),
        (f"updatedSince={TIME}&sort(-position)", "position", True),
    ],
)
def test_a_list_is_sorted_by_one_key(
    raw: str, order_by: str, *, descending: bool
) -> None:
    """A list has the order that its sort, or else its range, asks for."""
    query = parse_query(raw)
    assert (query.order_by, query.descending) == (order_by, descending)


@pytest.mark.parametrize(
    ("raw", "statuses"),
    [
        ("sort(status)", (("in",), ("out",), ("unknown",))),
        ("sort(-status)", (("unknown",), ("out",), ("in",))),
        ("sort(status)&status=out", (("out",),)),
        ("sort(+status,-since)", (("in",), ("out",), ("unknown",))),
        ("sort(-status,+since)", (("unknown",), ("out",), ("in",))),
    ],
)
def test_a_sort_by_status_reads_one_status_after_the_other(
    raw: str, statuses: object
) -> None:
    """Sorting by status first splits the list into a group for each."""
    assert parse_query(raw).statuses == statuses


def test_the_key_after_status_orders_each_group() -> None:
    """In ``sort(status,-since)`` both groups descend by since."""
    query = parse_query("sort(status,-since)")
    assert (query.order_by, query.descending) == ("since", True)


@pytest.mark.parametrize(
    ("raw", "offset", "limit"),
    [
        ("limit(50)", 0, 50),
        ("limit=50", 0, 50),
        ("limit(1000)", 0, 1000),
        ("limit(10,60)", 10, 50),
        ("limit(10000,11000)", 10_000, 1_000),
    ],
)
def test_a_limit_is_a_size_or_a_start_and_an_end(
    raw: str, offset: int, limit: int
) -> None:
    """The end of ``limit(start,end)`` is exclusive."""
    query = parse_query(raw)
    assert (query.offset, query.limit) == (offset, limit)


@pytest.mark.parametrize(
    ("raw", "selection"),
    [
        ("select(status)", Selection(("status",), "values")),
        ("select(status,)", Selection(("status",), "objects")),
        ("select(status,phoneNumber)", Selection(("status", "phoneNumber"), "objects")),
        ("select([status,since])", Selection(("status", "since"), "arrays")),
        ("select(%5Bstatus%5D)", Selection(("status",), "arrays")),
        ("sender=MG1&select(sender,)", Selection(("sender",), "objects")),
    ],
)
def test_columns_are_selected_in_the_forms_of_the_peer(
    raw: str, selection: Selection
) -> None:
    """The form of ``select`` decides between values, objects and arrays."""
    assert parse_query(raw).selection == selection


def test_updated_since_is_a_time() -> None:
    """The newest of several ``updatedSince`` is the one that counts."""
    query = parse_query(f"updatedSince=2025-12-31T00:00:00Z&updatedSince={TIME}")
    assert query.updated_since == NEW_YEAR


@pytest.mark.parametrize(
    ("raw", "refusal"),
    [
        ("phoneNumber", errors.InvalidQuery),
        ("status=in|status=out", errors.InvalidQuery),
        ("(status=in&sender=MG1)", errors.InvalidQuery),
        ("[status=in]", errors.InvalidQuery),
        ("count(phoneNumber)", errors.InvalidQuery),
        ("limit(1)&limit=1", errors.InvalidQuery),
        ("sort(since)&sort(since)", errors.InvalidQuery),
        ("select(status,status)", errors.InvalidQuery),
        ("&".join(["status=out"] * 21), errors.InvalidQuery),
        ("phoneNumber=" + "1" * 4096, errors.InvalidQuery),
        ("brand.name=x", errors.UnknownAttribute),
        ("Status=in", errors.UnknownAttribute),
        ("=lt=5", errors.UnknownAttribute),
        ("lt=5", errors.UnknownAttribute),
        ("excluded=5", errors.UnknownAttribute),
        ("sort(name)", errors.UnknownAttribute),
        ("sort()", errors.UnknownAttribute),
        ("select(name)", errors.UnknownAttribute),
        ("select()", errors.UnknownAttribute),
        ("select([status)", errors.UnknownAttribute),
        ("select(sender)", errors.UnknownAttribute),
        ("sender=MG1&select(version)", errors.UnknownAttribute),
        ("status=in=(in,out)", errors.UnknownOperator),
        ("status=GT=in", errors.UnknownOperator),
        ("phoneNumber=ct=415", errors.FilterNotIndexed),
        ("phoneNumber=ew=415", errors.FilterNotIndexed),
        ("status=gt=in", errors.FilterNotIndexed),
        ("sender!=MG1", errors.FilterNotIndexed),
        ("sender=sw=MG", errors.FilterNotIndexed),
        ("position!=1", errors.FilterNotIndexed),
        ("version=1", errors.FilterNotIndexed),
        (f"updatedSince=gt={TIME}", errors.FilterNotIndexed),
        (f"position=gt=1&since=gt={TIME}", errors.FilterNotIndexed),
        (f"position=gt=1&updatedSince={TIME}", errors.FilterNotIndexed),
        ("sender=MG1&position=gt=1", errors.FilterNotIndexed),
        (f"sender=MG1&updatedSince={TIME}", errors.FilterNotIndexed),
        ("position=gt=1&sort(since)", errors.SortNotIndexed),
        (f"updatedSince={TIME}&sort(phoneNumber)", errors.SortNotIndexed),
        ("sender=MG1&sort(-since)", errors.SortNotIndexed),
        ("sort(sender)", errors.SortNotIndexed),
        ("sort(since,phoneNumber)", errors.SortNotIndexed),
        ("sort(phoneNumber,status)", errors.SortNotIndexed),
        ("status=banana", errors.InvalidValue),
        ("status=null", errors.InvalidValue),
        ("status=number:1", errors.InvalidValue),
        ("sender=", errors.InvalidValue),
        ("phoneNumber==*", errors.InvalidValue),
        ("phoneNumber=a%00", errors.InvalidValue),
        ("phoneNumber=a\udc80", errors.InvalidValue),
        ("phoneNumber=sw=%F4%8F%BF%BF", errors.InvalidValue),
        ("phoneNumber=sw=%ED%9F%BF", errors.InvalidValue),
        ("position=1.5", errors.InvalidValue),
        ("position=1_0", errors.InvalidValue),
        ("position=9223372036854775808", errors.InvalidValue),
        ("position=string:1", errors.InvalidValue),
        ("since=gt=2026-01-01T00:00:00", errors.InvalidValue),
        ("since=gt=2026-01-01", errors.InvalidValue),
        ("since=gt=2026-02-30T00:00:00Z", errors.InvalidValue),
        ("since=gt=0001-01-01T00:00:00%2B01:00", errors.InvalidValue),
        ("since=gt=1767225600000", errors.InvalidValue),
        ("limit(0)", errors.InvalidLimit),
        ("limit(1001)", errors.InvalidLimit),
        ("limit(-1)", errors.InvalidLimit),
        ("limit()", errors.InvalidLimit),
        ("limit(1,2,3)", errors.InvalidLimit),
        ("limit(60,10)", errors.InvalidLimit),
        ("limit(10001,10002)", errors.InvalidLimit),
        ("limit(0,5000)", errors.InvalidLimit),
        ("limit=gt=5", errors.InvalidLimit),
        ("cursor=", errors.InvalidCursor),
        ("cursor=MQ", errors.InvalidCursor),
        ("cursor=é", errors.InvalidCursor),
    ],
)
def test_what_cannot_be_served_is_refused(
    raw: str, refusal: type[errors.InvalidQuery]
) -> None:
    """What is wrong, or served by no index, has its own stable code."""
    with pytest.raises(refusal) as refused:
        parse_query(raw)
    assert refused.type is refusal


@pytest.mark.parametrize(
    ("raw", "cursor"),
    [
        ("", Cursor(0, "+1415", "+1415")),
        ("", Cursor(0, " 1415", " 1415")),
        ("sender=MG1&status=out", Cursor(0, "+1415", "+1415")),
        ("sort(status,-position)", Cursor(1, 12, "+1415")),
        ("sort(since)", Cursor(0, NEW_YEAR.replace(microsecond=1), "ARRÊT")),
        (f"updatedSince={TIME}", Cursor(0, 12, "+1415")),
        ("phoneNumber!=a&phoneNumber!=b", Cursor(0, "c", "c")),
    ],
)
def test_a_cursor_goes_on_where_a_page_ended(raw: str, cursor: Cursor) -> None:
    """The link to the next page is the same query after the cursor."""
    query = parse_query(raw)
    following = parse_query(next_page(raw, query.encode(cursor)))
    assert following.after == cursor
    assert following.encode(cursor) == query.encode(cursor)


def test_a_page_after_a_cursor_skips_nothing_again() -> None:
    """The offset of ``limit(start,end)`` counts for the first page only."""
    cursor = parse_query("").encode(Cursor(0, "+1", "+1"))
    assert parse_query(f"limit(10,60)&cursor={cursor}").offset == 0


def test_a_cursor_allows_another_limit_and_selection() -> None:
    """A client may change the size and the columns of its pages on the way."""
    cursor = parse_query("limit(5)").encode(Cursor(0, "+1", "+1"))
    assert parse_query(f"limit(9)&select(status)&cursor={cursor}").limit == 9


@pytest.mark.parametrize(
    "raw",
    [
        "status=out",
        "sender=MG1",
        "sort(-phoneNumber)",
        "sort(position)",
        "sort(status)",
        "phoneNumber=gt=%2B",
        "phoneNumber=lt=%2B2",
        "phoneNumber!=%2B1",
        f"updatedSince={TIME}",
    ],
)
def test_a_cursor_of_another_query_is_refused(raw: str) -> None:
    """A cursor is good for the rows and the order that it was given for."""
    cursor = parse_query("").encode(Cursor(0, "+1", "+1"))
    with pytest.raises(errors.InvalidCursor):
        parse_query(f"{raw}&cursor={cursor}")


@pytest.mark.parametrize(
    ("raw", "cursor"),
    [
        ("", Cursor(1, "+1", "+1")),
        ("", Cursor(-1, "+1", "+1")),
        ("", Cursor(True, "+1", "+1")),
        ("", Cursor(0, 1, "+1")),
        ("", Cursor(0, "+1", "\0")),
        ("sort(position)", Cursor(0, "1", "+1")),
        ("sort(position)", Cursor(0, True, "+1")),
        ("sort(position)", Cursor(0, 2**63, "+1")),
        ("sort(since)", Cursor(0, "2026-01-01T00:00:00", "+1")),
        ("sort(since)", Cursor(0, "2026-01-01T00:00:00Z", "+1")),
        ("status=in&status=out", Cursor(0, "+1", "+1")),
    ],
)
def test_a_cursor_that_no_page_gave_is_refused(raw: str, cursor: Cursor) -> None:
    """A forged cursor with the right digest still must be one that we would write."""
    forged = parse_query(raw).encode(cursor)
    with pytest.raises(errors.InvalidCursor):
        parse_query(f"{raw}&cursor={forged}")


@pytest.mark.parametrize(
    "fields", ["W10", "bnVsbA", "WyJcdWQ4MDAiLDEsMiwzXQ", "WzFlNDAwLDEsMiwzXQ", "e30"]
)
def test_a_cursor_of_other_json_is_refused(fields: str) -> None:
    """An array of another length, a null, a lone surrogate, an infinity: no cursor."""
    with pytest.raises(errors.InvalidCursor):
        parse_query(f"cursor={fields}")


def test_the_next_page_replaces_the_cursor_and_keeps_the_rest() -> None:
    """A link has one cursor, and nothing that would end a ``Link`` header's target."""
    raw = "cursor=old&phoneNumber>=%2B1&sort(+phoneNumber)&"
    expected = "phoneNumber%3E=%2B1&sort(+phoneNumber)&cursor=new"
    assert next_page(raw, "new") == expected


def test_a_refusal_says_what_to_do_instead() -> None:
    """The message of a refusal names what would be accepted."""
    with pytest.raises(errors.UnknownAttribute, match="use phoneNumber, status"):
        parse_query("name=x")
    with pytest.raises(errors.SortNotIndexed, match="sort by position"):
        parse_query("position=gt=1&sort(since)")


def test_a_refusal_can_be_written_whatever_it_quotes() -> None:
    """A message quotes little, and nothing that cannot be encoded."""
    with pytest.raises(errors.InvalidQuery) as refused:
        parse_query("\udc80" * 4000)
    assert len(str(refused.value).encode()) < 500
