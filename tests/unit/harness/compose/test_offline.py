"""Where containers reach this machine, by what engines say of their bridge."""

from tests.harness.compose.offline import host_address


def test_the_gateway_that_an_engine_names() -> None:
    assert host_address([{"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.9"}]) == "172.17.0.9"


def test_an_engine_that_names_none_has_the_first_address() -> None:
    assert host_address([{"Subnet": "172.17.0.0/16"}]) == "172.17.0.1"
    assert host_address([{"Subnet": "172.17.0.0/16", "Gateway": ""}]) == "172.17.0.1"
