"""The ledger, opened by the stock ``eventsourcing`` library: with keys or without.

Used by name: MAPPER_TOPIC=ledger.audit:LedgerMapper. Without a master key what is
personal stays ``Sealed``; with one in the environment it is opened with the keys in the
same database, and only what was destroyed stays so. Never writes: what it would write
of an opened event is a phone number in clear.
"""

import os
import weakref
from typing import Any, Final, NoReturn, Self
from uuid import UUID

from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import Mapper, StoredEvent

from ledger.domain.events import LedgerEvent
from ledger.domain.ids import Sealed
from ledger.errors import ConfigurationError, RequestRefused
from ledger.master_key import load_master_keys
from ledger.settings import Settings
from ledger.store.keyring import day_purpose, kept_purpose, subject_purpose
from ledger.store.kinds import check_chains
from ledger.store.master import MasterKeys, WrappedKey
from ledger.store.sealing import Day, SubjectKey, day_of, open_evidence
from ledger.store.statements import statement

_READ_KEYS: Final = statement("ledger", "read_keys_of_event")
_MASTER_KEY: Final = (
    "LEDGER_MASTER_KEY",
    "LEDGER_MASTER_KEY_FILE",
    "LEDGER_MASTER_KEY_COMMAND",
)
_POSTGRES: Final = {
    "host": "POSTGRES_HOST",
    "port": "POSTGRES_PORT",
    "dbname": "POSTGRES_DBNAME",
    "user": "POSTGRES_USER",
    "password": "POSTGRES_PASSWORD",
}


class LedgerMapper(Mapper[UUID]):
    """Reads stored events, and opens what is personal where it has the keys."""

    def __init__(self, *given: Any, **more: Any) -> None:  # noqa: ANN401
        super().__init__(*given, **more)
        check_chains()
        self._keys = _Keys.of_environment()

    def to_domain_event(self, stored_event: StoredEvent) -> DomainEventProtocol[UUID]:
        """The event; what is personal is open, or ``Sealed``."""
        event = super().to_domain_event(stored_event)
        if isinstance(event, LedgerEvent) and event.personal:
            state = vars(event)
            for name in event.personal:
                if state[name] is not None:
                    state[name] = Sealed(state[name])
            if self._keys is not None:
                state |= self._keys.opened(event)
        return event

    def to_stored_event(self, domain_event: object) -> NoReturn:  # noqa: ARG002
        """Refuse: the ledger's own service is the only writer of events."""
        raise RequestRefused("an auditor's application does not write")


class _Keys:
    """The keys in the database, read one event at a time and not remembered."""

    def __init__(self, masters: MasterKeys) -> None:
        # psycopg comes with the extra `audit`, and the service does without.
        import psycopg  # noqa: PLC0415

        place = {n: os.environ[v] for n, v in _POSTGRES.items() if os.environ.get(v)}
        self._masters = masters
        self._connection = psycopg.connect(
            psycopg.conninfo.make_conninfo("", **place),
            autocommit=True,
            cursor_factory=psycopg.RawCursor,
        )
        # The library closes what it has opened, and knows nothing of this one.
        weakref.finalize(self, self._connection.close)

    @classmethod
    def of_environment(cls) -> Self | None:
        """With the master key that the environment gives; None if it gives none."""
        given = {n: value for n in _MASTER_KEY if (value := os.environ.get(n))}
        if not given:
            return None
        if not os.environ.get("POSTGRES_DBNAME"):
            raise ConfigurationError(
                "the keys are read from the database that POSTGRES_DBNAME and so on "
                "name in the environment of the process"
            )
        return cls(load_master_keys(Settings.from_mapping(given)))

    def opened(self, event: LedgerEvent) -> dict[str, object]:
        """Those of its personal fields whose keys were not destroyed."""
        boxes = {n: box for n in event.personal if (box := getattr(event, n))}
        evidence = boxes.pop("evidence", None)
        name = day_of(evidence) if evidence else ""
        subject, day, kept = self._read(event.subject_id, name)
        if subject is None:
            return {}
        place = (event.stream_id, event.version)
        purpose = subject_purpose(event.subject_id)
        key = SubjectKey(self._masters.unwrap(subject, purpose), subject)
        opened: dict[str, object] = {
            n: key.open_text(n, box, *place) for n, box in boxes.items()
        }
        if evidence is None:
            return opened
        if day is not None:
            opened_day = Day(name, self._masters.unwrap(day, day_purpose(name)))
            secret = key.evidence_secret(opened_day)
        elif kept is not None:
            secret = self._masters.unwrap(kept, kept_purpose(event.subject_id, name))
        else:
            return opened
        return opened | {"evidence": open_evidence(evidence, secret, *place)}

    def _read(self, subject_id: UUID, day: str) -> list[WrappedKey | None]:
        """The keys of the subject, of the day, and what it keeps of the day."""
        row: Any = self._connection.execute(_READ_KEYS, (subject_id, day)).fetchone()
        pairs = (row[0:2], row[2:4], row[4:6])
        return [WrappedKey(*pair) if pair[0] is not None else None for pair in pairs]
