"""API-key check shared by the services."""

import hmac
from collections.abc import Mapping


def authorised(headers: Mapping[str, str], key: str | None) -> bool:
    """True when no key is configured or the request carries it as `Authorization: Bearer <key>`.

    The comparison takes the same time wherever the first difference is.
    """
    if key is None:
        return True
    scheme, _, given = headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), key.encode())
