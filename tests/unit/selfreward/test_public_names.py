"""`import selfreward`: the public names are a fixed list, and each is loaded when it is first used."""

import pytest

import selfreward


def test_the_public_names_are_these() -> None:
    assert selfreward.__all__ == ["AsyncJudgeClient", "JudgeClient", "JudgeItem", "Judged", "ServiceError"]


def test_each_public_name_is_what_it_says() -> None:
    for name in selfreward.__all__:
        assert getattr(selfreward, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = selfreward.Nothing
