"""TCP ports on loopback for the processes of one machine, which no other process can be given in the meantime."""

import socket


def reserve_port() -> socket.socket:
    """A socket that keeps a TCP port on loopback (`getsockname()[1]`) from everybody else until it is closed.

    It is bound and does not listen, so that the kernel gives the port neither to another caller nor to an outgoing
    connection. A server that sets SO_REUSEADDR, as uvicorn, vLLM and Redis do, may still listen on it.
    """
    reservation = socket.socket()
    reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reservation.bind(("127.0.0.1", 0))
    return reservation


def free_port() -> int:
    """A TCP port on loopback, reserved (see `reserve_port`) for as long as this process lives."""
    reservation = reserve_port()
    port = int(reservation.getsockname()[1])
    reservation.detach()
    return port
