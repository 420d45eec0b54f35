"""No test reaches a server, a folder or a setting of the person who runs the tests."""

import socket

import pytest

from tests.support.hermetic import DEFAULT_PORTS, foreign_connections


@pytest.mark.parametrize("address", [*(("127.0.0.1", port) for port in DEFAULT_PORTS.values()), ("192.0.2.1", 80)])
def test_a_connection_to_a_default_port_or_to_another_machine_is_refused_and_noticed(address: tuple[str, int]) -> None:
    with foreign_connections() as tried:
        with pytest.raises(ConnectionRefusedError, match="tests must not connect"):
            socket.create_connection(address)
        with pytest.raises(ConnectionRefusedError) as closed:
            socket.create_connection(("127.0.0.1", 9))
    assert "tests must not" not in str(closed.value)
    assert tried == [address]
