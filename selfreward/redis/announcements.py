"""The announced policy: one record in Redis says which weights all generator replicas shall serve, and each polls it.

Versions are integers that only grow, over all runs: `policy@N` never means two different weights.
"""

from selfreward.contracts.base import Contract, policy_label
from selfreward.redis.connection import RedisClient

_HISTORY = "selfreward:policy:history"
_BY_ARTIFACT = "selfreward:policy:by-artifact"
_CURRENT = "selfreward:policy:current"

# KEYS: history, current, by artifact, and perhaps a key that must have a value; ARGV: artifact and digest, record, the
# value. Returns the version, -1 when the key has another value.
_ANNOUNCE = """
if KEYS[4] and redis.call('GET', KEYS[4]) ~= ARGV[3] then return -1 end
local version = redis.call('HGET', KEYS[3], ARGV[1])
if not version then
  version = tostring(redis.call('HLEN', KEYS[1]))
  redis.call('HSET', KEYS[3], ARGV[1], version)
  redis.call('HSET', KEYS[1], version, ARGV[2])
end
redis.call('SET', KEYS[2], version)
return version
"""


class NotAnnounced(RuntimeError):
    """The caller may no longer announce: another one holds what it held."""


class Announced(Contract):
    """A policy version: its number, the artifact with the weights, and the digest of the artifact's manifest."""

    version: int
    artifact: str
    digest: str

    @property
    def label(self) -> str:
        """`policy@N`."""
        return policy_label(self.version)


async def announce(
    redis: RedisClient, artifact: str, digest: str, only_while: tuple[str, str] | None = None
) -> Announced:
    """Make a published checkpoint the current policy. The same artifact and digest always get the same version.

    `only_while` is a Redis key and a value. Raises NotAnnounced unless the key has that value in the same moment.
    """
    body = Announced(version=0, artifact=artifact, digest=digest).model_dump_json()
    keys, values = [_HISTORY, _CURRENT, _BY_ARTIFACT], [f"{artifact} {digest}", body]
    if only_while is not None:
        keys.append(only_while[0])
        values.append(only_while[1])
    version = int(await redis.eval(_ANNOUNCE, len(keys), *keys, *values))
    if version < 0:
        raise NotAnnounced(f"{artifact} was not announced: {keys[-1]} no longer holds {values[-1]}")
    return Announced(version=version, artifact=artifact, digest=digest)


async def current(redis: RedisClient) -> Announced | None:
    """The announced policy, or None before the first announcement."""
    version = await redis.get(_CURRENT)
    if version is None:
        return None
    return await announced(redis, int(version))


async def announced(redis: RedisClient, version: int) -> Announced:
    """The record of one version; KeyError when it was never announced."""
    body = await redis.hget(_HISTORY, str(version))
    if body is None:
        raise KeyError(f"{policy_label(version)} was never announced")
    return Announced.model_validate_json(body).model_copy(update={"version": version})
