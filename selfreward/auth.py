"""API-key check shared by the services."""

import hmac
from collections.abc import Mapping


def bearer(headers: Mapping[str, str]) -> str | None:
    """The key that a request carries as `Authorization: Bearer <key>`, or None."""
    scheme, _, given = headers.get("authorization", "").partition(" ")
    return given.strip() if scheme.lower() == "bearer" else None


def authorised(headers: Mapping[str, str], key: str | None) -> bool:
    """True when no key is configured or the request carries it.

    The comparison takes the same time wherever the first difference is.
    """
    if key is None:
        return True
    given = bearer(headers)
    return given is not None and hmac.compare_digest(given.encode(), key.encode())
