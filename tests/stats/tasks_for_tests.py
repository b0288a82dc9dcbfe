"""Tasks that end in every way there is; only test workers load them, with `--include`."""

import time

from buildportal.celery import PortalTask, app


@app.task(name="tests.succeed")
def succeed() -> None:
    """Do nothing."""


@app.task(name="tests.fail")
def fail() -> None:
    """End in an error."""
    raise ValueError("this task always fails")


@app.task(name="tests.fail_once", bind=True, max_retries=1)
def fail_once(self: PortalTask) -> None:
    """Ask for one retry, then succeed."""
    if not self.request.retries:
        raise self.retry(countdown=0)


@app.task(name="tests.sleep")
def sleep(seconds: float) -> None:
    """Hold a slot."""
    time.sleep(seconds)
