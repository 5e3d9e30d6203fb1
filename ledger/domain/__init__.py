"""The rules of consent, pure: no I/O, no clock, no randomness."""
