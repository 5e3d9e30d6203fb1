"""The service must not go on as if nothing had happened."""

from typing import Final

from ledger.errors.ledger_error import LedgerError


class Fault(LedgerError):
    """The service must stop and be looked at rather than go on."""

    code = "fault"


class ConfigurationError(Fault):
    """The settings cannot be served with."""

    code = "configuration_error"


class SchemaMismatch(Fault):
    """The database's schema is not the one that this release works with."""

    code = "schema_mismatch"


class MasterKeyMissing(Fault):
    """The master key is not the one that this ledger's keys are wrapped with."""

    code = "master_key_missing"


class KeyMissing(Fault):
    """A key is missing that nobody has erased: restore its table from a backup."""

    code = "key_missing"


class SealBroken(Fault):
    """What was sealed with a subject's key does not open with it: it was altered."""

    code = "seal_broken"


class PositionMissing(Fault):
    """The ledger has a gap: positions are given without one, so an event is missing."""

    code = "position_missing"


class EventBroken(Fault):
    """A stored event lacks what every event of its kind has: it was altered."""

    code = "event_broken"


class UnknownEvent(Fault):
    """The ledger holds an event that this release does not know."""

    code = "unknown_event"
    retry_after_seconds: Final = 5
    """Another process may be of a release that knows it, or soon will be."""

    def __init__(
        self, position: int, topic: str, class_version: int, advice: str = ""
    ) -> None:
        # An error is pickled by what it was made with: a process that fills a
        # projection tells it to the one that waits.
        super().__init__(position, topic, class_version, advice)
        self.position = position
        self.topic = topic
        self.class_version = class_version
        self._advice = advice

    def __str__(self) -> str:
        """What is there, where, and which release to start, if that is known."""
        return (
            f"position {self.position} holds version {self.class_version} of "
            f"{self.topic!r}, which this release does not know{self._advice}"
        )

    def known_to(self, release: str | None) -> "UnknownEvent":
        """The same, saying which release is to be started, if one has noted it."""
        advice = f": release {release} does, start that or a newer one"
        if release is None:
            advice = ", and no release has noted that it does"
        return UnknownEvent(self.position, self.topic, self.class_version, advice)


class ChainBroken(Fault):
    """This release cannot read all versions of its own events, so it does not start."""

    code = "chain_broken"
