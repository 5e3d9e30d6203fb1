"""Tells others of changes of consent.

In reading order: ``changes``, ``notice``, ``channel``, ``url``, ``email``,
``follower``, ``worker``.
"""
