"""What a policy version looks like."""

import pytest

from selfreward.contracts.base import is_policy_version, policy_number


@pytest.mark.parametrize("label", ["policy", "policy@", "policy@-1", "policy@x", "model@1", "policy@1@2"])
def test_only_policy_at_number_is_a_version(label: str) -> None:
    with pytest.raises(ValueError, match="is not a policy version"):
        policy_number(label)
    assert not is_policy_version(label)
    assert is_policy_version("policy@12")
