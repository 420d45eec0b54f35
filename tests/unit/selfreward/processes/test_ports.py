import socket

from selfreward.processes.child import free_port, reserve_port


def _given_to_another(port: int) -> bool:
    with socket.socket() as other:
        try:
            other.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def test_a_reserved_port_is_given_to_nobody_else_yet_its_server_can_listen_on_it() -> None:
    with reserve_port() as reservation:
        port = reservation.getsockname()[1]
        assert not _given_to_another(port)
        with socket.create_server(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port), timeout=5):
            pass


def test_nobody_answers_on_a_reserved_port_before_its_server_listens() -> None:
    with reserve_port() as reservation, socket.socket() as client:
        assert client.connect_ex(reservation.getsockname()) != 0


def test_free_ports_differ_and_stay_reserved() -> None:
    ports = [free_port() for _ in range(200)]
    assert len(set(ports)) == len(ports)
    assert not any(_given_to_another(port) for port in ports)
