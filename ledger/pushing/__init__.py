"""Telling Twilio: what people say now, for its Consent API, which cannot be read."""
