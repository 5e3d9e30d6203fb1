"""The event store: the only code that writes events, and the readers of them."""
