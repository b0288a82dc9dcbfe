"""Structured logs and the correlation id that is on every line of them; holds no domain."""

import logging
import logging.config
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog

_ACCEPTED_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def accepted_correlation_id(candidate: str | None) -> str | None:
    """The candidate if it may be echoed and stored as a correlation id, else None."""
    return candidate if candidate and _ACCEPTED_ID.fullmatch(candidate) else None


def new_correlation_id() -> str:
    """A fresh id, for work that nobody named."""
    return str(uuid.uuid4())


def current_correlation_id() -> str | None:
    """The id of the request or task that runs now; None outside of one."""
    value = structlog.contextvars.get_contextvars().get("correlation_id")
    return str(value) if value else None


@contextmanager
def correlated(correlation_id: str | None, **values: Any) -> Iterator[str]:
    """Run the body with the id (a new one if None) and the values on every log line."""
    chosen = accepted_correlation_id(correlation_id) or new_correlation_id()
    with structlog.contextvars.bound_contextvars(correlation_id=chosen, **values):
        yield chosen


def logging_config(*, level: int, as_json: bool) -> None:
    """Send every log line, the libraries' too, through structlog to standard error."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Any] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if as_json
        else [structlog.dev.ConsoleRenderer()]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "lines": {
                    "()": structlog.stdlib.ProcessorFormatter,
                    "foreign_pre_chain": shared,
                    "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
                }
            },
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "lines"}},
            "root": {"handlers": ["stderr"], "level": level},
            "loggers": {
                "django.server": {"handlers": ["stderr"], "level": level, "propagate": False},
                # Every refused request has its access line already.
                "django.request": {"level": max(level, logging.ERROR)},
                # A name per request and connection at INFO: noise beside the portal's own lines.
                "urllib3": {"level": max(level, logging.WARNING)},
                "kubernetes": {"level": max(level, logging.WARNING)},
                "celery.beat": {"level": max(level, logging.WARNING)},
                "celery.worker.strategy": {"level": max(level, logging.WARNING)},
                "celery.app.trace": {"level": max(level, logging.WARNING)},
            },
        }
    )
