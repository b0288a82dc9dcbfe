"""Every setting of the portal, read once from the environment, top to bottom; holds no behaviour."""

import logging
from pathlib import Path
from typing import Any

import environ
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from kombu import Queue

from buildportal.environment import choice, flag, integer, number, text, words
from buildportal.telemetry import logging_config

BASE_DIR = Path(__file__).resolve().parent.parent
STATE_DIR = Path(text("STATE_DIR", str(BASE_DIR / "var"))).resolve()

# --- Core -------------------------------------------------------------------------------------------------

DEBUG = flag("DEBUG", False)
SECRET_KEY = text("SECRET_KEY", "insecure-key-for-debugging-only" if DEBUG else "")
if not SECRET_KEY:
    raise ImproperlyConfigured("SECRET_KEY is not set; give the portal a long random secret.")
ALLOWED_HOSTS = words("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = words("CSRF_TRUSTED_ORIGINS")
ROOT_URLCONF = "buildportal.urls"
WSGI_APPLICATION = "buildportal.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
APPEND_SLASH = False  # API paths carry no trailing slash, and a redirect would lose a POST body
LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "corsheaders",
    "csp",
    "django_filters",
    "django_htmx",
    "rest_framework",
    "builds",
]

MIDDLEWARE = [
    "buildportal.middleware.RequestContextMiddleware",
    "buildportal.middleware.ErrorBodyMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# --- Database ---------------------------------------------------------------------------------------------

try:
    _database = environ.Env.db_url_config(text("DATABASE_URL", f"sqlite:///{STATE_DIR / 'db.sqlite3'}"))
except (ImproperlyConfigured, ValueError, KeyError):
    raise ImproperlyConfigured(
        "DATABASE_URL is not understood; use postgres://user:password@host:5432/name or sqlite:////path."
    ) from None
DATABASES: dict[str, dict[str, Any]] = {"default": dict(_database)}
if "sqlite" in DATABASES["default"]["ENGINE"]:
    # Without IMMEDIATE two writers that began as readers fail at once with "database is locked".
    DATABASES["default"]["OPTIONS"] = {
        "timeout": 5,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
elif "postgresql" in DATABASES["default"]["ENGINE"]:
    DATABASES["default"]["CONN_MAX_AGE"] = 0
    DATABASES["default"].setdefault("OPTIONS", {}).update(
        {
            "connect_timeout": 3,
            # A server that has vanished from the network is noticed by this, not by the system's minutes.
            "tcp_user_timeout": 10_000,
            # A request waits this long for a connection before its 503.
            "pool": {"min_size": 1, "max_size": integer("DATABASE_POOL_SIZE", 8, least=1), "timeout": 2},
        }
    )
else:
    raise ImproperlyConfigured("DATABASE_URL must name a postgres or a sqlite database.")

# --- Redis or Valkey: broker, worker facts, task outcomes ---------------------------------------------------

REDIS_URL = text("REDIS_URL", f"unix://{STATE_DIR / 'valkey.sock'}?db=0")
if not REDIS_URL.startswith(("redis://", "rediss://", "unix://")):
    raise ImproperlyConfigured("REDIS_URL must begin with redis://, rediss:// or unix://.")
REDIS_TIMEOUT_S = number("REDIS_TIMEOUT_S", 0.5, least=0.05)

# kombu spells a unix socket in its own way, and takes the database as virtual_host.
CELERY_BROKER_URL = REDIS_URL.replace("unix://", "redis+socket://", 1).replace("?db=", "?virtual_host=")
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_TRANSPORT_OPTIONS = {
    # Far above the longest task: a message that outlives it is started again.
    "visibility_timeout": 120,
    # Polled each second, so that a killed worker's messages come back soon after the timeout.
    "unacked_restore_interval": 1,
    "unacked_restore_throttle": 1,
    "socket_timeout": 5,
    "socket_connect_timeout": 1,
    "socket_keepalive": True,
    "retry_on_timeout": False,
}
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 1, "interval_start": 0, "interval_max": 0.2}
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
# One queue per kind of haste: a flood of log reading never delays a cancellation's message.
TASK_QUEUES = ("cancel", "sync", "logs", "default")
CELERY_TASK_QUEUES = [Queue(name) for name in TASK_QUEUES]
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_ROUTES = {
    "builds.tasks.carry_out_cancellation": {"queue": "cancel"},
    "builds.tasks.sweep_cancellations": {"queue": "cancel"},
    "builds.tasks.look_for_pods": {"queue": "default"},
    "builds.tasks.reconcile": {"queue": "sync"},
    "builds.tasks.capture_log": {"queue": "logs"},
}
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 3
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_ENABLE_UTC = True
CELERY_TIMEZONE = "UTC"

# --- Cluster ------------------------------------------------------------------------------------------------

CLUSTER = choice("CLUSTER", "kubeconfig", ("kubeconfig", "incluster"))
KUBECONFIG = Path(text("KUBECONFIG", str(Path.home() / ".kube" / "config"))).expanduser()
KUBE_CONTEXT = text("KUBE_CONTEXT") or None
KUBE_CONNECT_TIMEOUT_S = number("KUBE_CONNECT_TIMEOUT_S", 2.0, least=0.1)
KUBE_READ_TIMEOUT_S = number("KUBE_READ_TIMEOUT_S", 10.0, least=0.1)
KUBE_LIST_TIMEOUT_S = number("KUBE_LIST_TIMEOUT_S", 45.0, least=0.1)
KUBE_PAGE_SIZE = integer("KUBE_PAGE_SIZE", 500, least=1)
KUBE_WATCH_SILENCE_S = number("KUBE_WATCH_SILENCE_S", 75.0, least=6)

NAMESPACES = words("NAMESPACES", "knative-lambda")
if not NAMESPACES:
    raise ImproperlyConfigured("NAMESPACES must name at least one namespace.")
if "pool" in DATABASES["default"].get("OPTIONS", {}):
    # A watcher needs a connection for each namespace, and one for its lease: with fewer it would starve.
    _pool = DATABASES["default"]["OPTIONS"]["pool"]
    _pool["max_size"] = max(_pool["max_size"], len(NAMESPACES) + 2)
JOB_SELECTOR = text("JOB_SELECTOR", "app=knative-lambda-builder")
# Ordered fall-backs: the first one that a Job carries wins.
THIRD_PARTY_LABELS = words("THIRD_PARTY_LABELS", "build.notifi.network/third-party-id,third-party-id")
PARSER_LABELS = words("PARSER_LABELS", "build.notifi.network/parser-id,parser-id")
IMAGE_ANNOTATIONS = words("IMAGE_ANNOTATIONS", "lambda.knative.io/image-uri")
CORRELATION_ANNOTATIONS = words("CORRELATION_ANNOTATIONS", "build.notifi.network/correlation-id")
BUILD_CONTAINERS = words("BUILD_CONTAINERS", "kaniko")

# --- Sync, logs, cancellation, statistics -------------------------------------------------------------------

RECONCILE_INTERVAL_S = number("RECONCILE_INTERVAL_S", 15, least=1)
MISSING_GRACE_S = number("MISSING_GRACE_S", 30)
LIVE_LOG_INTERVAL_S = number("LIVE_LOG_INTERVAL_S", 5, least=1)
LOG_LINES = integer("LOG_LINES", 1000, least=1)
LOG_LIMIT_BYTES = integer("LOG_LIMIT_BYTES", 256 * 1024, least=1024)
CANCEL_WAIT_S = number("CANCEL_WAIT_S", 0.4, most=5)
SWEEP_INTERVAL_S = number("SWEEP_INTERVAL_S", 2, least=0.5)
STATS_INTERVAL_S = number("STATS_INTERVAL_S", 2, least=0.5)
STATS_STALE_S = number("STATS_STALE_S", 10, least=1)
WORKER_LOST_S = number("WORKER_LOST_S", 15, least=3)
MAX_QUEUE_SIZE = integer("MAX_QUEUE_SIZE", 100, least=1)

# --- Events out ---------------------------------------------------------------------------------------------

EVENT_SINK = text("K_SINK") or None
if EVENT_SINK and not EVENT_SINK.startswith(("http://", "https://")):
    raise ImproperlyConfigured("K_SINK must be an http:// or https:// URL.")
EVENT_SINK_TIMEOUT_S = number("K_SINK_TIMEOUT_S", 5, least=0.1)

# --- API ----------------------------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "builds.api.authentication.BearerAuthentication",
        "builds.api.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["builds.api.authentication.HasScope"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "EXCEPTION_HANDLER": "builds.api.errors.exception_handler",
    "UNAUTHENTICATED_USER": None,
    "URL_FORMAT_OVERRIDE": None,
}

CORS_ALLOWED_ORIGINS = words("CORS_ALLOWED_ORIGINS")
if any(origin in ("*", "null") for origin in CORS_ALLOWED_ORIGINS):
    raise ImproperlyConfigured("CORS_ALLOWED_ORIGINS must list full origins; '*' and 'null' are refused.")
CORS_ALLOW_HEADERS = [
    "authorization",
    "content-type",
    "x-correlation-id",
    "x-request-id",
    "idempotency-key",
    "if-none-match",
    "range",
    "traceparent",
    "x-csrftoken",
]
CORS_EXPOSE_HEADERS = [
    "X-Correlation-ID",
    "Link",
    "Location",
    "ETag",
    "Retry-After",
    "RateLimit",
    "RateLimit-Policy",
    "Content-Range",
    "X-Log-Next-Offset",
    "X-Log-Complete",
    "X-Log-Skipped",
    "X-Logs-Unavailable-Reason",
]
CORS_URLS_REGEX = r"^/(?!console/|admin/)"  # no other site has business with the pages
CORS_ALLOW_CREDENTIALS = flag("CORS_ALLOW_CREDENTIALS", False)
CORS_PREFLIGHT_MAX_AGE = 600

# --- People, pages, security --------------------------------------------------------------------------------

LOGIN_URL = "console:sign_in"
LOGIN_REDIRECT_URL = "console:builds"
LOGOUT_REDIRECT_URL = "console:sign_in"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
]
# Cookies need https everywhere but on a loopback trial.
SECURE_COOKIES = flag("SECURE_COOKIES", not DEBUG)
SESSION_COOKIE_SECURE = SECURE_COOKIES
CSRF_COOKIE_SECURE = SECURE_COOKIES
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SECURE_SSL_REDIRECT = flag("SECURE_SSL_REDIRECT", SECURE_COOKIES)
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]
SECURE_HSTS_SECONDS = integer("SECURE_HSTS_SECONDS", 31_536_000 if SECURE_COOKIES else 0)
SECURE_HSTS_INCLUDE_SUBDOMAINS = flag("SECURE_HSTS_INCLUDE_SUBDOMAINS", SECURE_COOKIES)
SECURE_HSTS_PRELOAD = flag("SECURE_HSTS_PRELOAD", SECURE_COOKIES)
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
if flag("BEHIND_TLS_PROXY", False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "base-uri": [NONE],
        "object-src": [NONE],
        "frame-ancestors": [NONE],
        "form-action": [SELF],
    }
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024

STATIC_URL = "/static/"
STATIC_ROOT = Path(text("STATIC_ROOT", str(STATE_DIR / "static")))
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = flag("SERVE_UNCOLLECTED_STATIC", DEBUG)
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    # The manifest names what was collected; without it no page could name its style sheet.
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if WHITENOISE_USE_FINDERS
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}

# --- Logs ---------------------------------------------------------------------------------------------------

LOG_LEVEL = choice("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR"))
LOGGING_CONFIG = None
logging_config(level=getattr(logging, LOG_LEVEL), as_json=flag("LOG_JSON", True))
