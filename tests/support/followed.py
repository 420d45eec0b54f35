"""Reads server-sent events."""

import json
from collections.abc import AsyncIterator
from typing import Any


async def read(stream: AsyncIterator[str]) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Id and content of each event; comments are left out."""
    async for text in stream:
        if text.startswith("id:"):
            entry_id, data = text.strip().split("\n")
            yield entry_id.removeprefix("id: "), json.loads(data.removeprefix("data: "))
