"""Sends notices by e-mail, to people, through a mail server.

TLS is used wherever the server offers it, and a password is never sent without. Never
says in an error or a log what was sent, or to whom.
"""

from types import TracebackType
from typing import Final, Self

import aiosmtplib

from ledger.errors import NoticeUndelivered
from ledger.notifying.notice import Notice
from ledger.setting_values import MailServer


class EmailChannel:
    """Writes to ``to``; each notice is one e-mail."""

    name: Final[str] = "email"

    def __init__(
        self,
        server: MailServer,
        *,
        from_address: str,
        to: tuple[str, ...],
        timeout_seconds: float,
    ) -> None:
        self._server = server
        self._from_address = from_address
        self._to = to
        self._timeout_seconds = timeout_seconds

    async def __aenter__(self) -> Self:
        """Nothing is held between two e-mails."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to let go of."""

    async def deliver(self, notice: Notice) -> None:
        """See ``Channel.deliver``; a mail server that takes it for some has it."""
        server = self._server
        message = notice.as_email(from_address=self._from_address, to=self._to)
        try:
            await aiosmtplib.send(
                message,
                hostname=server.host,
                port=server.port,
                username=server.username,
                password=server.password,
                use_tls=server.is_tls,
                start_tls=_start_tls(server),
                timeout=self._timeout_seconds,
            )
        except (aiosmtplib.SMTPException, OSError) as error:
            code = getattr(error, "code", None)
            told = f" {code}" if isinstance(code, int) else ""
            kind = type(error).__name__
            raise NoticeUndelivered(f"the mail server: {kind}{told}") from None


def _start_tls(server: MailServer) -> bool | None:
    if server.is_tls:
        return False
    return True if server.password else None
