"""Twilio's REST API: what we ask of it, and what we set there."""
