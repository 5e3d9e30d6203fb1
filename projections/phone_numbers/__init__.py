"""The projection ``phone_numbers``: what each number says now."""

from projections.phone_numbers.projection import PhoneNumbers

__all__ = ["PhoneNumbers"]
