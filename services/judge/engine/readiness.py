"""Whether an engine can judge, asked of `GET /models`: in plain words what is wrong, and what to do."""

import json
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import quote

from selfreward.client.http import ServiceClient, ServiceError
from services.judge.engine.faults import setting_to_mend

_NO_ROUTE = frozenset({404, 405, 501})
_MOST_NAMED = 10
_GENERATORS = "policy"
"""The generator's model. It has none before the first run announces one, and a run begins by asking the judge."""


async def trouble_of(probe: ServiceClient, model: str) -> str | None:
    """What keeps the engine from judging as `model`, and the setting to mend; None if nothing is known to.

    An engine without a list of models says nothing of them, and one that is busy (429) is there.
    """
    try:
        names = _names((await probe.request("GET", "/models")).content)
    except ServiceError as error:
        if error.status in _NO_ROUTE or error.status == 429:
            return None
        if mend := setting_to_mend(error.status, error.body or str(error)):
            return f"{mend}: {error}"
        if error.status is not None:
            return f"the judging engine fails: {error}"
        return f"the judging engine is unreachable: {error}; start it, or mend SELFREWARD_JUDGE_ENGINE_URL"
    if names is None or any(_is_of(model, name) for name in names) or (not names and model == _GENERATORS):
        return None
    # The list may be a page of many, and lack other names of its models.
    try:
        await probe.request("GET", f"/models/{quote(model, safe='/:@')}")
    except ServiceError:
        pass
    else:
        return None
    shown = ", ".join(names[:_MOST_NAMED]) or "none"
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return (
        f"the judging engine has no model {model!r}, it has {shown}{more}: set SELFREWARD_JUDGE_ENGINE_MODEL to one of "
        "them, or load the model"
    )


def _names(content: bytes) -> list[str] | None:
    """The models of a list in OpenAI's form, or of a bare list; None where it is another answer."""
    try:
        data: Any = json.loads(content)
        cards = data["data"] if isinstance(data, dict) else data
        return [str(card["id"]) for card in cards]
    except (ValueError, KeyError, TypeError):
        return None


def _is_of(model: str, name: str) -> bool:
    """Whether a name in a list stands for the model: gateways list patterns (`openai/*`), Gemini `models/<name>`."""
    return model in (name, name.removeprefix("models/")) or fnmatchcase(model, name)
