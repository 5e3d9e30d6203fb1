"""What a row of the table is, and what is asked of it."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

Verdict = Literal["aim", "at least", "below", "not measured"]


@dataclass(frozen=True, slots=True)
class Target:
    """A line of the issue's table."""

    what: str
    against: str
    at_least: float
    aim: float
    unit: str = "x"
    is_better: Literal["more", "less"] = "more"
    ours_in: str = "/s"


TARGETS: Final[Mapping[str, Target]] = MappingProxyType(
    {
        "webhooks-64": Target(
            "signed webhooks/s, distinct numbers, 64 connections, durable",
            "pgbench, 64 clients, one-row durable inserts",
            0.4,
            0.7,
        ),
        "webhooks-256": Target(
            "the same at 256 connections",
            "the same (pgbench at 64 clients)",
            0.5,
            0.9,
        ),
        "webhooks-64-consent": Target(
            "at 64 connections, with LEDGER_RECORD_MESSAGES=false",
            "the same (pgbench at 64 clients)",
            0.4,
            0.7,
        ),
        "webhooks-256-consent": Target(
            "at 256 connections, with LEDGER_RECORD_MESSAGES=false",
            "the same (pgbench at 64 clients)",
            0.5,
            0.9,
        ),
        "one-webhook": Target(
            "one webhook at a time, median time",
            "pgbench, one client, one insert",
            6,
            2.5,
            is_better="less",
            ours_in=" ms",
        ),
        "get-number": Target(
            "GET /PhoneNumbers/{number}/s, 100,000 numbers, 64 connections",
            "a constant aiohttp handler",
            0.45,
            0.65,
        ),
        "list": Target(
            "list by status/s, 50 of 100,000, 64 connections",
            "the same constant handler",
            0.05,
            0.12,
        ),
        "projector": Target(
            "projector, 500,000 events into both tables, events/s",
            "the library's notification log, read and mapped",
            1,
            3,
        ),
        "as-of": Target(
            "GET of a number with asOf/s, random numbers and times, 64 connections",
            "the same service, the numbers as they are now",
            1 / 1.3,
            1,
        ),
        "as-of-longest": Target(
            "the same, of the number with the longest history",
            "the same, those that have said most",
            1 / 1.3,
            1,
        ),
        "as-of-known-at": Target(
            "the same with asOf and knownAt, random numbers",
            "the same service, random numbers as they are now",
            1 / 1.3,
            1,
        ),
        "check": Target(
            "POST of 10,000 numbers to check, one sender, time",
            "plain SQL that reads those rows",
            4,
            2,
            is_better="less",
            ours_in=" ms",
        ),
        "check-as-of": Target(
            "the same with asOf",
            "the same",
            4,
            2,
            is_better="less",
            ours_in=" ms",
        ),
        "sealing-webhooks": Target(
            "signed webhooks/s at 64 connections, with sealing",
            "the same service without sealing",
            0.85,
            0.95,
        ),
        "sealing-projector": Target(
            "projector from its start, events/s, with sealing",
            "the same service without sealing",
            0.85,
            0.95,
        ),
        "import-rows": Target(
            "consent-ledger import, rows/s, mostly new numbers, durable",
            "",
            20_000,
            30_000,
            unit="/s",
        ),
        "rebuild": Target(
            "rebuild of both projections, 1,000,000 events, whole command, events/s",
            "the library's notification log, read and mapped",
            3,
            8,
        ),
        "rebuild-memory": Target(
            "memory (RSS) of a process that fills",
            "",
            300,
            150,
            unit=" MB",
            is_better="less",
        ),
        "rebuild-limit": Target(
            "the same rebuild",
            "COPY of the finished tables into empty ones, with indexes",
            0.1,
            0.3,
        ),
        "rebuild-beside": Target(
            "p99 of webhooks beside a rebuild, at 500/s and as many reads",
            "the same without a rebuild",
            50,
            5,
            is_better="less",
            ours_in=" ms",
        ),
        "rebuild-beside-get": Target(
            "p99 of those reads",
            "the same",
            50,
            5,
            is_better="less",
            ours_in=" ms",
        ),
        "visible": Target(
            "200 until visible in GET, p99, at 1,000 webhooks/s",
            "",
            250,
            50,
            unit=" ms",
            is_better="less",
        ),
        "memory": Target(
            "memory (RSS) of one web process under load",
            "",
            150,
            100,
            unit=" MB",
            is_better="less",
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured: a number a round, and the other side's if there is one."""

    name: str
    ours: Sequence[float]
    theirs: Sequence[float] = ()
    notes: Sequence[str] = ()
    detail: Mapping[str, object] = field(default_factory=dict)

    @property
    def target(self) -> Target:
        """What is asked of it."""
        return TARGETS[self.name]

    @property
    def rounds(self) -> list[float]:
        """The ratio of each pair of rounds, which stood next to each other in time."""
        if not self.theirs:
            return list(self.ours)
        return [a / b for a, b in zip(self.ours, self.theirs, strict=True)]

    @property
    def value(self) -> float | None:
        """The median of the rounds; None where there is none."""
        return statistics.median(self.rounds) if self.ours else None

    @property
    def verdict(self) -> Verdict:
        """Which of the two marks it reaches."""
        if self.value is None:
            return "not measured"
        if self._reaches(self.target.aim):
            return "aim"
        return "at least" if self._reaches(self.target.at_least) else "below"

    def _reaches(self, mark: float) -> bool:
        assert self.value is not None
        if self.target.is_better == "more":
            return self.value >= mark
        return self.value <= mark
