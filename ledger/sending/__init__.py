"""Sending: asked for once, recorded before and after, settled if left open."""
