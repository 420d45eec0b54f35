"""Formats of rows that people have, as the rows of seed files.

- ours and TRL's: `{"prompt", "response"}`, or `completion` in place of `response`;
- chats: `{"messages": [{"role", "content"}]}`;
- ShareGPT: `{"conversations": [{"from", "value"}]}`, from `human`, `gpt` or `system`;
- Alpaca: `{"instruction", "input", "output"}`.

The last turn of a chat is the response if it is the assistant's. Other columns of these formats are left out. A row of
our own format is left as it is, so that a misspelt key is refused.
"""

from typing import Any

OURS = "prompt/response"
_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}


def as_seed_row(row: Any, with_response: bool) -> tuple[str, Any]:
    """The name of the row's format, and the row with `prompt` and, unless it is not wanted, `response`.

    Raises ValueError for a chat whose turns cannot be read. What is of no format is returned as it is.
    """
    if not isinstance(row, dict) or "responses" in row:
        return OURS, row
    if "prompt" in row:
        if "completion" not in row or "response" in row:
            return OURS, row
        name, found = "prompt/completion", {"prompt": row["prompt"], "response": _text(row["completion"])}
    elif "messages" in row:
        name, found = "messages", _split(row["messages"], "messages", "role", "content")
    elif "conversations" in row:
        name, found = "ShareGPT", _split(row["conversations"], "conversations", "from", "value")
    elif "instruction" in row and "output" in row:
        texts = [row["instruction"], row.get("input") or ""]
        prompt = "\n\n".join(text for text in texts if text) if all(isinstance(t, str) for t in texts) else texts[0]
        name, found = "Alpaca", {"prompt": prompt, "response": row["output"]}
    else:
        return OURS, row
    return name, found if with_response else {"prompt": found["prompt"]}


def _text(completion: Any) -> Any:
    """TRL's completion: a text, or a list of one message."""
    if isinstance(completion, list) and len(completion) == 1 and isinstance(completion[0], dict):
        return completion[0].get("content")
    return completion


def _split(turns: Any, column: str, role: str, text: str) -> dict[str, Any]:
    """A chat's turns as prompt and response."""
    if not isinstance(turns, list) or not turns:
        raise ValueError(f"{column} is no list of turns: give at least the user's")
    messages = []
    for place, turn in enumerate(turns):
        name = turn.get(role) if isinstance(turn, dict) else None
        if not isinstance(turn, dict) or name not in _ROLES or not isinstance(turn.get(text), str):
            known = ", ".join(_ROLES)
            raise ValueError(f"{column}[{place}] is no turn with a {role!r} of {known} and a text as {text!r}")
        messages.append({"role": _ROLES[name], "content": turn[text]})
    if messages[-1]["role"] == "assistant":
        return {"prompt": messages[:-1], "response": messages[-1]["content"]}
    return {"prompt": messages}
