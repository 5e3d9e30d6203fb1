"""What somebody with every right may do to the tables behind the service's back.

Each is a statement about one subject, $1, or about none, and what a check must then
find: tables and kinds of differences.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from ledger.store.database import Connection

Found = tuple[str, str]

EVENTS: Final = "ledger_events"
HISTORY: Final = "consent_history_v1"
NUMBERS: Final = "phone_numbers_v1"
NUMBER_SENDERS: Final = "phone_number_senders_v1"
DIGESTS: Final = "projection_digests"
ROWS: Final = (NUMBERS, NUMBER_SENDERS, HISTORY)
_TABLES: Final = (
    *ROWS,
    EVENTS,
    "signal_keys",
    "subject_keys",
    "erased_subjects",
    "projections",
    DIGESTS,
)

_ALTERATIONS: Final = (
    (NUMBERS, "status = 'in'"),
    (NUMBERS, "since = since - interval '1 microsecond'"),
    (NUMBERS, "position = position + 1"),
    (NUMBERS, "version = version + 1"),
    (NUMBERS, "phone_number = '+14155550000'"),
    (NUMBERS, "updated_at = updated_at + interval '1 second'"),
    (NUMBER_SENDERS, "status = 'in'"),
    (NUMBER_SENDERS, "since = since - interval '1 hour'"),
    (NUMBER_SENDERS, "position = position - 1"),
    (NUMBER_SENDERS, "phone_number = ''"),
    (HISTORY, "status = 'in'"),
    (HISTORY, "previous_status = 'in'"),
    (HISTORY, "occurred_at = occurred_at - interval '1 day'"),
    (HISTORY, "recorded_at = recorded_at + interval '1 day'"),
    (HISTORY, "source = 'import'"),
    (HISTORY, "matched_by = 'freeText'"),
    (HISTORY, "actor = 'key:somebody'"),
)

ROW_FAULTS: Final[list[tuple[str, str, str]]] = [
    *((f"DELETE FROM {table} WHERE subject_id = $1", table, "lost") for table in ROWS),
    *(
        (f"UPDATE {table} SET {change} WHERE subject_id = $1", table, "altered")
        for table, change in _ALTERATIONS
    ),
    (
        f"""
        INSERT INTO {NUMBER_SENDERS}
        SELECT subject_id, phone_number, 'MG0', status, since, position, version
        FROM {NUMBER_SENDERS} WHERE subject_id = $1
        """,
        NUMBER_SENDERS,
        "extra",
    ),
    (
        f"""
        INSERT INTO {HISTORY}
        SELECT subject_id, 1000, version, sender, status, previous_status, occurred_at,
            recorded_at, source, matched_by, actor
        FROM {HISTORY} WHERE subject_id = $1
        """,
        HISTORY,
        "extra",
    ),
]
"""Of a subject with one event and one row in each table."""

_EXTRA_ROWS: Final = {(table, "extra") for table in ROWS}

LEDGER_FAULTS: Final[list[tuple[str, set[Found]]]] = [
    (
        f"DELETE FROM {EVENTS} WHERE originator_id = $1",
        {
            *_EXTRA_ROWS,
            (EVENTS, "missing"),
            (DIGESTS, "unequal"),
            ("signal_keys", "unequal"),
        },
    ),
    (
        f"""
        UPDATE {EVENTS} SET state = convert_to(replace(convert_from(state, 'UTF8'),
            '"status":"out"', '"status":"in"'), 'UTF8')
        WHERE originator_id = $1
        """,
        {(table, "altered") for table in (*ROWS, EVENTS)},
    ),
    (
        f"UPDATE {EVENTS} SET state = substr(state, 2) WHERE originator_id = $1",
        {(EVENTS, "unreadable"), (EVENTS, "altered")},
    ),
    (
        f"""
        UPDATE {EVENTS} SET state = convert_to(replace(convert_from(state, 'UTF8'),
            '"status":"out"', '"status":[]'), 'UTF8')
        WHERE originator_id = $1
        """,
        {(EVENTS, "unreadable"), (EVENTS, "altered")},
    ),
    (
        f"UPDATE {EVENTS} SET state = '{{}}' WHERE originator_id = $1",
        {(EVENTS, "unreadable"), (EVENTS, "altered")},
    ),
    (
        f"UPDATE {EVENTS} SET topic = 'ledger:Other' WHERE originator_id = $1",
        {(EVENTS, "unreadable"), (EVENTS, "altered")},
    ),
    (  # what is sealed opens in its own place alone
        f"UPDATE {EVENTS} SET originator_version = 2 WHERE originator_id = $1",
        {
            (EVENTS, "missing"),
            (EVENTS, "unreadable"),
            (EVENTS, "altered"),
            (HISTORY, "altered"),
        },
    ),
    (
        f"UPDATE {EVENTS} SET notification_id = 1000 WHERE originator_id = $1",
        {
            *_EXTRA_ROWS,
            (EVENTS, "beyond"),
            (EVENTS, "missing"),
            (DIGESTS, "unequal"),
            ("signal_keys", "unequal"),
        },
    ),
    ("DELETE FROM subject_keys WHERE subject_id = $1", {("subject_keys", "lost")}),
    (
        "UPDATE subject_keys SET wrapped_key = 'x' WHERE subject_id = $1",
        {("subject_keys", "unreadable")},
    ),
    (
        "UPDATE subject_keys SET master_key = 'x' WHERE subject_id = $1",
        {("subject_keys", "unreadable")},
    ),
    (
        "INSERT INTO erased_subjects VALUES ($1, 'out', now(), 4)",
        {("erased_subjects", "extra")},
    ),
]
"""Of the same subject."""

COMMON_FAULTS: Final[list[tuple[str, set[Found]]]] = [
    ("DELETE FROM signal_keys WHERE position = 2", {("signal_keys", "unequal")}),
    (
        "UPDATE signal_keys SET position = 3 WHERE position = 2",
        {("signal_keys", "unequal")},
    ),
    (
        "UPDATE projections SET position = 1000",
        {("projections", "beyond"), ("projections", "moved")},
    ),
    ("DELETE FROM projections", {("projections", "lost")}),
    ("DELETE FROM erased_subjects", {("erased_subjects", "lost")}),
    ("UPDATE erased_subjects SET status = 'unknown'", {("erased_subjects", "altered")}),
    # All that is altered is altered in both versions alike, but for a count.
    (
        f"UPDATE {DIGESTS} SET digest_low = digest_low # 1 WHERE name <> 'x'",
        {(EVENTS, "altered")},
    ),
    (
        f"UPDATE {DIGESTS} SET digest_high = 0 WHERE name = 'phone_numbers'",
        {(DIGESTS, "unequal")},
    ),
    (
        f"UPDATE {DIGESTS} SET events = events + 1 WHERE name = 'consent_history'",
        {(DIGESTS, "unequal"), ("projections", "moved")},
    ),
    (
        f"DELETE FROM {DIGESTS} WHERE name = 'consent_history'",
        {(DIGESTS, "lost"), (DIGESTS, "unequal"), ("projections", "moved")},
    ),
]

ANY_ROW_FAULTS: Final = (
    "DELETE FROM {table} WHERE ctid = $1",
    """
    UPDATE {table} SET status = CASE status WHEN 'in' THEN 'out' ELSE 'in' END
    WHERE ctid = $1
    """,
    "UPDATE {table} SET position = position + 1000 WHERE ctid = $1",
    "UPDATE {table} SET version = version + 1 WHERE ctid = $1",
    """
    UPDATE {table} SET subject_id = '00000000-0000-8000-8000-000000000000'
    WHERE ctid = $1
    """,
)
"""Of any row of a projection, by its place $1."""


@asynccontextmanager
async def changed(
    connection: Connection, change: str, *arguments: object
) -> AsyncIterator[None]:
    """The tables after ``change``, which must change something; then as they were.

    Triggers are no obstacle to ``connection`` from here on.
    """
    await connection.execute("SET session_replication_role = replica")
    for table in _TABLES:
        await connection.execute(f"CREATE TEMP TABLE kept_{table} AS TABLE {table}")
    try:
        done = await connection.execute(change, *arguments)
        assert not done.endswith(" 0"), change
        yield
    finally:
        for table in _TABLES:
            await connection.execute(f"DELETE FROM {table}")
            restore = f"INSERT INTO {table} TABLE kept_{table}"
            await connection.execute(restore)
            await connection.execute(f"DROP TABLE kept_{table}")
