"""Taking connections from a socket that several processes share."""

import asyncio
import logging
import resource
import socket
from collections.abc import AsyncIterator

import pytest
from conftest import eventually

from ledger.accepting import Acceptor

CONNECTIONS = 20


class Taken(asyncio.Protocol):
    """Counts the connections that came to one acceptor."""

    def __init__(self) -> None:
        self.transports: list[asyncio.BaseTransport] = []

    def __call__(self) -> "Taken":
        """The protocol of the next one too."""
        return self

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """One more."""
        self.transports.append(transport)

    def close(self) -> None:
        """Close all."""
        for transport in self.transports:
            transport.close()


@pytest.fixture
async def listener() -> AsyncIterator[socket.socket]:
    """A socket that listens."""
    with socket.create_server(("127.0.0.1", 0), backlog=CONNECTIONS) as listener:
        yield listener


async def test_connections_that_come_at_once_are_shared(
    listener: socket.socket,
) -> None:
    """Of many that wait, each of two who are as busy as the other takes half."""
    address = listener.getsockname()
    clients = [socket.create_connection(address) for _ in range(CONNECTIONS)]
    both = (Taken(), Taken())
    acceptors = [Acceptor(listener.dup(), taken) for taken in both]

    async def all_taken() -> bool:
        return sum(len(taken.transports) for taken in both) == CONNECTIONS

    await eventually(all_taken)
    assert [len(taken.transports) for taken in both] == [CONNECTIONS / 2] * 2
    for acceptor, taken in zip(acceptors, both, strict=True):
        await acceptor.close()
        taken.close()
    for client in clients:
        client.close()


async def test_without_a_file_to_be_had_it_is_tried_again(
    listener: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    """Once there is one, the connection that waits is taken."""
    # Whatever a command that ran before in this process has logged from.
    caplog.set_level(logging.WARNING)
    taken = Taken()
    acceptor = Acceptor(listener.dup(), taken)
    with socket.socket() as client:
        client.setblocking(False)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (1, limits[1]))
        try:
            loop = asyncio.get_running_loop()
            await loop.sock_connect(client, listener.getsockname())

            async def is_logged() -> bool:
                return "cannot_accept" in caplog.text

            await eventually(is_logged)
            assert not taken.transports
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)

        async def is_taken() -> bool:
            return bool(taken.transports)

        await eventually(is_taken)
        await acceptor.close()
        taken.close()
