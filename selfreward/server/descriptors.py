"""File descriptors of this process: how many it may have open, and how many connections fit among them."""

import logging
import resource

# More than any of our bounds needs, and few enough for programs that walk through all possible descriptors.
_ENOUGH = 65_536
# For what is no connection of a client: two pools of 64 to Redis, 144 connections to other services, logs, files of a
# checkpoint, pipes of children.
_RESERVED = 384
_log = logging.getLogger(__name__)


def raise_descriptor_limit() -> None:
    """Raise the soft limit of open descriptors as far as this process may; children inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def connections_that_fit(descriptors_each: int = 1) -> int:
    """Connections of clients that may be open at once, if each takes `descriptors_each` descriptors."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = _ENOUGH if soft == resource.RLIM_INFINITY else min(soft, _ENOUGH)
    return max(1, (limit - _RESERVED) // descriptors_each)


def bound_by_descriptors(name: str, wanted: int, descriptors_each: int) -> int:
    """`wanted`, or as many as fit; the log says where that is less and how to have more."""
    fit = connections_that_fit(descriptors_each)
    if fit < wanted:
        extra = {"setting": name, "wanted": wanted, "allowed": fit}
        _log.warning("the bound is lowered to what the descriptor limit allows: raise it (ulimit -Hn)", extra=extra)
    return min(fit, wanted)
