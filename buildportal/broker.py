"""The portal's own use of Redis or Valkey beside Celery's: a client with timeouts, and locks that expire."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

import redis
from django.conf import settings


@cache
def client() -> redis.Redis:
    """A pooled client whose every call ends within REDIS_TIMEOUT_S; calls raise redis.RedisError."""
    return redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=settings.REDIS_TIMEOUT_S,
        socket_connect_timeout=settings.REDIS_TIMEOUT_S,
        decode_responses=True,
    )


@contextmanager
def only_one(name: str, *, for_s: float) -> Iterator[bool]:
    """Whether this caller holds the named lock; it is freed at the end of the body, or after for_s.

    Beat may send a tick twice. The lock spares the second one the work; the work itself is idempotent,
    so with Redis unreachable everyone is let in.
    """
    lock = client().lock(f"buildportal:lock:{name}", timeout=for_s, blocking=False)
    try:
        held = bool(lock.acquire())
    except redis.RedisError:
        yield True
        return
    try:
        yield held
    finally:
        if held:
            # Expired or unreachable: either way it ends by its own timeout.
            with suppress(redis.RedisError):
                lock.release()
