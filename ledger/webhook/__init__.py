"""Twilio's side: verify, parse, hand over, answer with TwiML."""
