"""What settings may be, where that takes more than a type: lists, handlers, servers.

Never says in an error what was given: it may be a secret.
"""

import base64
import binascii
import json
from typing import Annotated, Final, NamedTuple
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from ledger.domain.ids import EVERY_SENDER

_SIGNING_PREFIX: Final = "whsec_"
_SIGNING_BYTES_MIN: Final = 24
_MAIL_PORTS: Final = {"smtp": 587, "smtps": 465}


class MailServer(NamedTuple):
    """What ``smtp://user:password@host:port`` says, or ``smtps://``."""

    host: str
    port: int
    is_tls: bool
    """From the first byte on; else it is turned to TLS where the server offers it."""
    username: str | None
    password: str | None


def mail_server(url: str) -> MailServer:
    """Understand a mail server's URL.

    Raises:
        ValueError: it is none.
    """
    parts = urlsplit(url)
    if parts.scheme not in _MAIL_PORTS or not parts.hostname or parts.path.strip("/"):
        raise ValueError("it is not smtp:// or smtps:// with a host")
    return MailServer(
        host=parts.hostname,
        port=parts.port or _MAIL_PORTS[parts.scheme],
        is_tls=parts.scheme == "smtps",
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
    )


def comma_separated(value: object) -> object:
    """The parts of a text, without those that are empty."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _by_sender(value: object) -> object:
    """JSON, or one handler, which is for every sender."""
    if not isinstance(value, str):
        return value
    if not value.strip().startswith("{"):
        return {EVERY_SENDER: value.strip()}
    try:
        return json.loads(value)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error}") from None


def _mail_url(value: SecretStr) -> SecretStr:
    try:
        mail_server(value.get_secret_value())
    except ValueError:
        raise ValueError("it is not smtp:// or smtps:// with a host") from None
    return value


def _signing_secrets(value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    for secret in value:
        text = secret.get_secret_value().removeprefix(_SIGNING_PREFIX)
        try:
            key = base64.b64decode(text + "==", validate=False)
        except binascii.Error:
            key = b""
        if len(key) < _SIGNING_BYTES_MIN:
            raise ValueError(f"it is not {_SIGNING_BYTES_MIN} bytes or more in base64")
    return value


Words = Annotated[tuple[str, ...], BeforeValidator(comma_separated)]
Reply = Annotated[str, Field(min_length=1, max_length=320)]
Handlers = Annotated[dict[str, str], BeforeValidator(_by_sender)]
MailUrl = Annotated[SecretStr, AfterValidator(_mail_url)]
SigningSecrets = Annotated[
    tuple[SecretStr, ...],
    BeforeValidator(comma_separated),
    AfterValidator(_signing_secrets),
]
MailAddress = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_.+=/&'-]+@[A-Za-z0-9.-]+$", max_length=254)
]
MailAddresses = Annotated[tuple[MailAddress, ...], BeforeValidator(comma_separated)]
