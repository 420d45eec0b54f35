"""How many bytes of request bodies a process holds at once, for all callers together and for one key."""

from collections import Counter

from selfreward.server.errors import ApiError


class ByteBudget:
    """At most `total` bytes at once, and of one key at most half of that, so that no key takes all.

    `setting` is the environment variable that raises the bound.
    """

    def __init__(self, total: int, setting: str) -> None:
        self.total = total
        self.setting = setting
        self.used = Counter[str]()

    def hold(self, key: str) -> "Held":
        """What a request of a key holds: nothing yet."""
        return Held(self, key)


class Held:
    """The bytes of one request."""

    def __init__(self, budget: ByteBudget, key: str) -> None:
        self._budget = budget
        self._key = key
        self._bytes = 0

    def at_least(self, needed: int) -> None:
        """Hold so many bytes. Raises ApiError (429) where there is no room for what is missing."""
        more, budget = needed - self._bytes, self._budget
        if more <= 0:
            return
        if budget.used.total() + more > budget.total or budget.used[self._key] + more > budget.total // 2:
            message = (
                f"bodies in flight have {budget.used.total()} bytes, {budget.used[self._key]} of this key, the most is "
                f"{budget.total}, half of it for one key: try again, send less at once, or raise {budget.setting}"
            )
            # The body is not read, so no other request can come on this connection.
            raise ApiError(429, message, code="too_many_bytes", headers={"Connection": "close"})
        budget.used[self._key] += more
        self._bytes = needed

    def release(self) -> None:
        """Hold nothing. Doing it twice is harmless."""
        self._budget.used[self._key] -= self._bytes
        self._bytes = 0
        if not self._budget.used[self._key]:
            del self._budget.used[self._key]
