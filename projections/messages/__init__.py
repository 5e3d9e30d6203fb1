"""The projection ``messages``: every text, and what became of it."""

from projections.messages.projection import Messages

__all__ = ["Messages"]
