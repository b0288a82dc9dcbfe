"""What the kubernetes library found in a kubeconfig or service account, made into a session; reads no
settings.
"""

import ssl
from typing import Any

import urllib3
from urllib3.util.ssl_ import create_urllib3_context

from builds.kube.errors import ClusterError, Unauthorized
from builds.kube.transport import Session

_TLS_KEYS = ("cert_reqs", "ca_certs", "ca_cert_data", "cert_file", "key_file")


def session_from(configuration: Any, pool: urllib3.PoolManager) -> Session:
    """`configuration` is a kubernetes.client.Configuration, `pool` what the library made of it (proxies
    included).

    TLS is set up once, here: the library keeps certificates that a kubeconfig carries inline in temporary
    files and would have them read again for each connection, long after someone may have tidied them away.
    Raises OSError (ssl.SSLError included) and ValueError.
    """
    for key in _TLS_KEYS:
        pool.connection_pool_kw.pop(key, None)
    pool.connection_pool_kw["retries"] = False
    if configuration.host.startswith("https"):
        pool.connection_pool_kw["ssl_context"] = _tls(configuration)

    def authorization() -> str | None:
        try:
            found = configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        except ClusterError:
            raise
        except (
            Exception
        ) as error:  # a token file that cannot be read, a plugin that fails: whatever they raise
            raise Unauthorized(f"the credentials cannot be read ({type(error).__name__})") from error
        return None if found is None else str(found).strip()

    return Session(pool, configuration.host.rstrip("/"), authorization)


def _tls(configuration: Any) -> ssl.SSLContext:
    context = create_urllib3_context()
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif configuration.ssl_ca_cert or configuration.ca_cert_data:
        context.load_verify_locations(configuration.ssl_ca_cert, cadata=configuration.ca_cert_data)
    else:
        context.load_default_certs()
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    return context
