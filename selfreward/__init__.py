"""The library of the self-rewarding loop: contracts, recipes, methods, clients, command line and evaluation.

`from selfreward import JudgeClient` is all that a program needs to have answers judged. `selfreward.integrations` has
judges for TRL and other tools. A name is loaded at its first use, so that `import selfreward` loads nothing else.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfreward.client.http import ServiceError
    from selfreward.client.judge import AsyncJudgeClient, Judged
    from selfreward.client.judge_sync import JudgeClient
    from selfreward.contracts.judging import JudgeItem

__all__ = ["AsyncJudgeClient", "JudgeClient", "JudgeItem", "Judged", "ServiceError"]

_HOMES = {
    "AsyncJudgeClient": "selfreward.client.judge",
    "JudgeClient": "selfreward.client.judge_sync",
    "JudgeItem": "selfreward.contracts.judging",
    "Judged": "selfreward.client.judge",
    "ServiceError": "selfreward.client.http",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'selfreward' has no attribute {name!r}")
