"""What every error of ours has."""

from typing import ClassVar


class LedgerError(Exception):
    """Something went wrong in the ledger."""

    code: ClassVar[str] = "ledger_error"

    @classmethod
    def title(cls) -> str:
        """The explanation shared by every error of this class, one line."""
        return (cls.__doc__ or "").strip().splitlines()[0].rstrip(".")
