"""The commands of ``consent-ledger``, by what they are about."""
