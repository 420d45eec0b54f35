"""What every service asks of a request before it looks at it: a known key, with the scope that the route needs."""

from typing import NamedTuple

from selfreward.server.keys import Key, Scope


class Denial(NamedTuple):
    """Why a request is not served. `status` is 401 or 403, `kind` and `code` are the error's `type` and `code`."""

    status: int
    message: str
    kind: str
    code: str
    headers: dict[str, str]


def denial(key: Key | None, needed: Scope | None) -> Denial | None:
    """None when `key`, as `Keyring.find` found it, may use a route of the scope `needed` (None: any known key may)."""
    if key is None:
        message = "the API key is missing or wrong: send `Authorization: Bearer <key>`"
        return Denial(401, message, "authentication_error", "invalid_api_key", {"WWW-Authenticate": "Bearer"})
    if needed is not None and needed not in key.scopes:
        message = f"key {key.name!r} lacks the scope {needed!r}: use a key that has it, or add it to the keys file"
        return Denial(403, message, "permission_error", "missing_scope", {})
    return None
