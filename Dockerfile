# One image for every process of the portal; which one it is, the command says.
FROM python:3.11-slim AS packages
COPY requirements.txt .
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.txt

FROM python:3.11-slim
ENV PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    STATE_DIR=/var/lib/buildportal \
    STATIC_ROOT=/srv/static
RUN useradd --uid 10001 --home-dir /var/lib/buildportal --no-create-home --shell /usr/sbin/nologin buildportal \
    && install -d -o buildportal -g buildportal -m 0700 /var/lib/buildportal /var/lib/buildportal/beat
COPY --from=packages /venv /venv
WORKDIR /srv/buildportal
COPY manage.py ./
COPY buildportal buildportal
COPY builds builds
COPY static static
COPY templates templates
# The key is of no use later: collecting files signs nothing.
RUN SECRET_KEY=while-collecting python manage.py collectstatic --noinput
USER 10001
VOLUME /var/lib/buildportal
EXPOSE 8000
CMD ["python", "-m", "gunicorn", "buildportal.wsgi", "--preload", "--bind", "0.0.0.0:8000", "--worker-class", "gthread", \
     "--workers", "2", "--threads", "8", "--timeout", "30", "--graceful-timeout", "4", \
     "--worker-tmp-dir", "/dev/shm", "--no-control-socket", "--log-level", "warning"]
