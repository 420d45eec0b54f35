"""What all parts of selfreward share, and the only part that other people's code imports.

`from selfreward import JudgeClient` is all that a program needs to have answers judged; `selfreward.adapters` plugs a
client into other tools. Names are loaded when they are first used, so that `import selfreward` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfreward.contracts import JudgeItem
    from selfreward.http import ServiceError
    from selfreward.judge_client import AsyncJudgeClient, Judged
    from selfreward.sync_judge_client import JudgeClient

__all__ = ["AsyncJudgeClient", "JudgeClient", "JudgeItem", "Judged", "ServiceError"]

_HOMES = {
    "AsyncJudgeClient": "selfreward.judge_client",
    "JudgeClient": "selfreward.sync_judge_client",
    "JudgeItem": "selfreward.contracts",
    "Judged": "selfreward.judge_client",
    "ServiceError": "selfreward.http",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'selfreward' has no attribute {name!r}")
