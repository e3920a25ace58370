"""Whether the server in this container is ready: exit code 0 if so. Its own variables say where."""

import os
import ssl
import sys
import urllib.request

scheme = "https" if "SERVING_TLS_CERT" in os.environ else "http"
url = f"{scheme}://127.0.0.1:{os.environ.get('SERVING_HTTP_PORT', '8080')}/readyz"
# The certificate has the name that others call the server by.
context = ssl._create_unverified_context() if scheme == "https" else None  # noqa: S323
if context and "HEALTH_TLS_CERT" in os.environ:  # for a server with --tls-client-ca
    context.load_cert_chain(os.environ["HEALTH_TLS_CERT"], os.environ["HEALTH_TLS_KEY"])
try:
    urllib.request.urlopen(url, timeout=2, context=context)  # noqa: S310 - http or https
except OSError as error:
    sys.exit(f"{url}: {error}")
