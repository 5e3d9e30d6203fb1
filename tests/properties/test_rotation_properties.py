"""What is wrapped anew, whatever it is and whatever it is for."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from ledger.errors import MasterKeyMissing
from ledger.store.master import KEY_BYTES, MasterKeys

SECRETS = some.binary(min_size=KEY_BYTES, max_size=KEY_BYTES)
PURPOSES = some.binary(max_size=60)
KEYS = some.lists(SECRETS, min_size=2, max_size=4, unique=True)


@given(masters=KEYS, secret=SECRETS, purpose=PURPOSES, data=some.data())
def test_a_rewrapped_key_needs_the_current_master_key_alone(
    masters: list[bytes], secret: bytes, purpose: bytes, data: some.DataObject
) -> None:
    """Whichever master key has wrapped it before."""
    old = data.draw(some.sampled_from(masters))
    wrapped = MasterKeys([old]).wrap(secret, purpose)
    again = MasterKeys(masters).rewrap(wrapped, purpose)
    assert MasterKeys(masters[:1]).unwrap(again, purpose) == secret
    with pytest.raises(MasterKeyMissing):
        MasterKeys(masters[1:]).unwrap(again, purpose)


@given(masters=KEYS, secret=SECRETS, purpose=PURPOSES, other=PURPOSES)
def test_a_key_is_not_rewrapped_for_another_purpose(
    masters: list[bytes], secret: bytes, purpose: bytes, other: bytes
) -> None:
    """A key that was moved to another row is found out, and stays as it is."""
    wrapped = MasterKeys(masters[1:]).wrap(secret, purpose)
    both = MasterKeys(masters)
    if purpose == other:
        assert both.unwrap(both.rewrap(wrapped, other), other) == secret
        return
    with pytest.raises(MasterKeyMissing):
        both.rewrap(wrapped, other)
