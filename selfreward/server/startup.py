"""What keeps a service from starting: settings that cannot be read, and keys that keep nobody out."""

import ipaddress
import logging
import re

from pydantic import ValidationError

from selfreward.settings import Settings, key_of

LEAST_KEY_LENGTH = 24
# What examples and templates write where a key shall stand.
_PLACEHOLDERS = re.compile(
    "change[-_ ]?me|replace[-_ ]?me|your|my|the|api|key|secret|password|default|example|test|token|admin|selfreward"
)
_REMEDY = "take what `selfreward keys new NAME` prints"
_log = logging.getLogger(__name__)


class StartRefused(ValueError):
    """A service that does not start with its settings. The message names variable and remedy, and holds no secret."""


def what_is_wrong(error: ValidationError) -> str:
    """A line for each variable that a settings class cannot take. It holds no value, which may be a secret."""
    problems = error.errors(include_input=False)
    return "\n".join(f"SELFREWARD_{str(each['loc'][0]).upper()}: {each['msg']}" for each in problems)


def check_access(settings: Settings) -> None:
    """Raises StartRefused for a service that others could reach without a key, or with one that they can guess."""
    key = key_of(settings)
    if key is not None and is_default(key):
        raise StartRefused(f"SELFREWARD_API_KEY is a placeholder, which everybody can guess: {_REMEDY}")
    if is_loopback(settings.host):
        if key is None and settings.keys is None:
            _log.warning("no API key is set: every program on this machine is let in")
        return
    where = f"SELFREWARD_HOST={settings.host} lets other machines in"
    if key is None and settings.keys is None:
        raise StartRefused(
            f"{where}, and there is no key: set SELFREWARD_API_KEY ({_REMEDY}) or SELFREWARD_KEYS, "
            "or listen on 127.0.0.1"
        )
    if key is not None and len(key) < LEAST_KEY_LENGTH:
        raise StartRefused(
            f"{where}, and SELFREWARD_API_KEY has {len(key)} characters, the least is {LEAST_KEY_LENGTH}: {_REMEDY}"
        )


def is_loopback(host: str) -> bool:
    """True when only this machine reaches `host`. A name other than `localhost` may be anywhere: False."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_default(key: str) -> bool:
    """True for a key of nothing but the words of templates, digits, signs or one repeated character."""
    letters = re.sub("[^a-z]", "", _PLACEHOLDERS.sub("", key.casefold()))
    return len(set(letters)) < 2
