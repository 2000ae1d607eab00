"""Sends the same requests to our server and to Starlette's own middleware, and tells where they differ.

Arguments: address of our server; what is compared (`cors` or `hosts`); the setting that the server was started with.
"""

import asyncio
import itertools
import sys

import httpx
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route

DEVELOPMENT = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"
ALLOWED = {"unset": "http://localhost:3000", "*": "https://any.example"}
REQUEST_METHOD = "Access-Control-Request-Method"
REQUEST_HEADERS = "Access-Control-Request-Headers"
PRIVATE_NETWORK = "Access-Control-Request-Private-Network"


def items(response, name):
    return {item.strip().lower() for item in response.headers.get(name, "").split(",") if item.strip()}


def seen_by_a_page(response, preflight):
    """What a browser goes by. Where the origin is not named, the other permissions mean nothing."""
    seen = {"status": response.status_code, "origin": response.headers.get("access-control-allow-origin")}
    varies = items(response, "vary")
    seen["varies"] = varies if preflight else "origin" in varies
    if seen["origin"] is not None:
        seen["credentials"] = response.headers.get("access-control-allow-credentials")
        seen["exposed"] = None if preflight else items(response, "access-control-expose-headers")
    if preflight:
        seen["methods"] = items(response, "access-control-allow-methods")
        # A browser compares the fields that it asked for, and only after a success.
        if response.status_code == 200 and REQUEST_HEADERS in response.request.headers:
            seen["fields"] = items(response, "access-control-allow-headers")
        seen["seconds"] = response.headers.get("access-control-max-age")
        refused = response.status_code == 400
        # Our errors are JSON as everywhere; the message is the same.
        ours = refused and response.headers["content-type"] == "application/json"
        seen["said"] = response.json()["error"]["message"] if ours else response.text
    return seen


def cors_table(setting):
    allowed = ALLOWED.get(setting, setting.split(",")[0])
    origins = [allowed, allowed.upper(), allowed + "/", allowed + ".evil.example", "https://evil.example", "null"]
    for origin, (method, path) in itertools.product([None, *origins], [("GET", "/"), ("HEAD", "/"), ("GET", "/nowhere")]):
        yield method, path, {} if origin is None else {"Origin": origin}
    methods = ["GET", "DELETE", "PATCH", "get", ""]
    fields = [None, "authorization", "Authorization, CONTENT-TYPE,last-event-id", "x-unheard-of", "accept,x-unheard-of", "*"]
    for origin, method, field in itertools.product([allowed, "https://evil.example", "null"], methods, fields):
        headers = {"Origin": origin, REQUEST_METHOD: method}
        if field is not None:
            headers[REQUEST_HEADERS] = field
        yield "OPTIONS", "/", headers
    yield "OPTIONS", "/nowhere", {"Origin": allowed, REQUEST_METHOD: "POST"}
    yield "OPTIONS", "/", {"Origin": allowed, REQUEST_METHOD: "GET", PRIVATE_NETWORK: "true"}


def host_table(setting):
    # Left out: `name:`, with a port that is empty, which RFC 3986 section 3.2.3 allows and Starlette does not.
    for pattern in setting.split(","):
        name = pattern.replace("*", "www")
        yield from [name, name.upper(), name + ":8000", name + ".", "x" + name, "x." + name, name + ".evil.example"]
        yield from [pattern.replace("*.", ""), pattern.replace("*", "a.b")]
    yield from ["", "evil.example", "[::1]:80", "[::2]", "::1", "[0:0::1]", "127.0.0.2", "127.0.0.1:65535", "a b", "a/b", "a@b"]


async def main(address, what, setting):
    async def answer(request):
        return PlainTextResponse("here")

    ours = httpx.AsyncClient(base_url=address, timeout=60)
    if what == "cors":
        asked = {"Origin": ALLOWED.get(setting, setting.split(",")[0]), REQUEST_METHOD: "GET"}
        preflight = await ours.options("/", headers=asked)
        plain = await ours.get("/", headers=asked)
        middleware = Middleware(
            CORSMiddleware,
            allow_origins=[] if setting == "unset" else setting.split(","),
            allow_origin_regex=DEVELOPMENT if setting == "unset" else None,
            allow_methods=[item.strip() for item in preflight.headers["access-control-allow-methods"].split(",")],
            allow_headers=["*"],
            expose_headers=[item.strip() for item in plain.headers["access-control-expose-headers"].split(",")],
            allow_credentials=True,
        )
        table = list(cors_table(setting))
    else:
        hosts = setting.split(",")
        middleware = Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False)
        table = [("GET", "/", {"Host": host}) for host in host_table(setting)]
    routes = [Route("/", answer)]
    transport = httpx.ASGITransport(Starlette(routes=routes, middleware=[middleware]))
    theirs = httpx.AsyncClient(base_url="http://starlette", transport=transport)
    differences = 0
    for method, path, headers in table:
        answers = [await client.request(method, path, headers=headers) for client in (ours, theirs)]
        preflight = method == "OPTIONS"
        seen = [seen_by_a_page(one, preflight) if what == "cors" else one.status_code for one in answers]
        if seen[0] != seen[1]:
            differences += 1
            print(f"{method} {path} {headers}\n  ours   {seen[0]}\n  theirs {seen[1]}")
    print(f"{len(table)} requests, {differences} differences")
    sys.exit(1 if differences else 0)


asyncio.run(main(*sys.argv[1:]))
