"""What keeps a service from starting: settings that cannot be read, and keys that keep nobody out."""

import ipaddress
import logging
import re

from pydantic import ValidationError

from selfreward.settings import Settings, key_of

LEAST_KEY_LENGTH = 24
# The words that examples and templates have in the place of a key.
_PLACEHOLDERS = re.compile(
    "change[-_ ]?me|replace[-_ ]?me|your|my|the|api|key|secret|password|default|example|test|token|admin|selfreward"
)
_REMEDY = "take what `selfreward keys new NAME --scope SCOPE` prints"
_log = logging.getLogger(__name__)


class StartRefused(ValueError):
    """A service refuses to start with its settings. The message names the variable and the remedy, and no secret."""


def what_is_wrong(error: ValidationError) -> str:
    """A line for each variable that a settings class refuses, without its value, which may be a secret."""
    problems = error.errors(include_input=False)
    return "\n".join(f"SELFREWARD_{str(each['loc'][0]).upper()}: {each['msg']}" for each in problems)


def check_access(settings: Settings) -> None:
    """Raise StartRefused for a service that others could reach without a key, or with a key that they can guess."""
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
    """Whether only this machine reaches `host`. False for any name but `localhost`, which may be anywhere."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_default(key: str) -> bool:
    """Whether a key consists of words of templates, digits and signs alone, or of one repeated character."""
    letters = re.sub("[^a-z]", "", _PLACEHOLDERS.sub("", key.casefold()))
    return len(set(letters)) < 2
