"""The projection ``consent_history``: everything each number ever said."""

from projections.consent_history.projection import ConsentHistory

__all__ = ["ConsentHistory"]
