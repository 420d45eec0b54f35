"""Stands between an orchestrator and an API server from before Kubernetes 1.21, to which CronJobs are `v1beta1`.

Started as a file in a sidecar, which listens on loopback with a certificate of the test's own, at the port that it is
given. All else passes as it is.
"""

import os
import ssl
import sys

import httpx
import uvicorn
from fastapi import FastAPI, Request, Response

_AUTHORITY = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
_PASSED = ("authorization", "content-type", "accept")

app = FastAPI()
_server = httpx.AsyncClient(
    base_url="https://{KUBERNETES_SERVICE_HOST}:{KUBERNETES_SERVICE_PORT}".format(**os.environ),
    verify=ssl.create_default_context(cafile=_AUTHORITY),
    timeout=30,
)


@app.api_route("/{path:path}", methods=["GET", "POST", "DELETE"])
async def forward(path: str, request: Request) -> Response:
    """The server's answer to the same request, with the older name of CronJobs in its path."""
    if "/cronjobs/" in path:
        path = path.replace("apis/batch/v1/", "apis/batch/v1beta1/")
    headers = {name: request.headers[name] for name in _PASSED if name in request.headers}
    answer = await _server.request(
        request.method, f"/{path}", params=request.query_params, headers=headers, content=await request.body()
    )
    return Response(answer.content, answer.status_code, media_type=answer.headers.get("content-type"))


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), ssl_certfile="/tls/tls.crt", ssl_keyfile="/tls/tls.key")
