"""Outgoing events -> sink: CloudEvents over HTTP in binary mode, at least once, in order per build."""

from datetime import UTC, datetime, timedelta
from functools import cache

import structlog
import urllib3
from cloudevents.core.bindings.http import HTTPMessage, to_binary_event
from cloudevents.core.v1.event import CloudEvent
from django.conf import settings
from django.db.models import Exists, F, OuterRef

from builds.models import OutgoingEvent

log = structlog.get_logger(__name__)

# A sender that dies with an event in hand leaves it to others after this; the sink tells repeats by the id.
_LEASE = timedelta(seconds=30)
_LONGEST_PAUSE_S = 300


def deliver_next() -> bool:
    """Try the delivery that is due first; False if none is. One HTTP call of at most K_SINK_TIMEOUT_S.

    A failed one stays, is tried ever more rarely, and holds back the later events of its build only.
    """
    now = datetime.now(UTC)
    earlier = OutgoingEvent.objects.filter(
        build=OuterRef("build"), position__lt=OuterRef("position"), sent_at__isnull=True
    )
    due = OutgoingEvent.objects.filter(~Exists(earlier), sent_at__isnull=True, next_try_at__lte=now)
    event = due.order_by("next_try_at").first()
    if event is None or settings.EVENT_SINK is None:
        return False
    claim = OutgoingEvent.objects.filter(pk=event.pk, sent_at__isnull=True, next_try_at=event.next_try_at)
    if not claim.update(next_try_at=now + _LEASE, tries=F("tries") + 1):
        return True
    problem = _post(settings.EVENT_SINK, event)
    mine = OutgoingEvent.objects.filter(pk=event.pk, sent_at__isnull=True)
    if problem is None:
        mine.update(sent_at=datetime.now(UTC), last_error="")
    else:
        pause = timedelta(seconds=min(2 ** min(event.tries, 10), _LONGEST_PAUSE_S))
        mine.update(next_try_at=datetime.now(UTC) + pause, last_error=problem)
        log.warning("event not delivered", id=str(event.pk), type=event.type, problem=problem)
    return True


def _post(sink: str, event: OutgoingEvent) -> str | None:
    """None if the sink took it (2xx), else what went wrong, without the sink's address or body."""
    message = as_message(event)
    try:
        answer = _http().request(
            "POST",
            sink,
            body=message.body,
            headers=message.headers,
            timeout=urllib3.Timeout(total=settings.EVENT_SINK_TIMEOUT_S),
            retries=False,
            redirect=False,
        )
    except urllib3.exceptions.HTTPError as error:
        return f"no answer: {type(error).__name__}"
    return None if 200 <= answer.status < 300 else f"answered {answer.status}"


def as_message(event: OutgoingEvent) -> HTTPMessage:
    """The event in binary mode: attributes as `ce-` headers, the data as the JSON body.

    Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
    """
    attributes = {
        "id": str(event.pk),
        "source": event.source,
        "type": event.type,
        "specversion": "1.0",
        "subject": event.subject,
        "time": event.time,
        "datacontenttype": "application/json",
        **event.extensions,
    }
    return to_binary_event(CloudEvent(attributes=attributes, data=event.data))


@cache
def _http() -> urllib3.PoolManager:
    return urllib3.PoolManager(maxsize=4)
