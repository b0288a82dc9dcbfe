"""Figures of the worker pool and of the builds; what requests read here never waits for a worker."""

from builds.stats.pool import health, pool_statistics

__all__ = ["health", "pool_statistics"]
