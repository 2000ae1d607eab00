"""Posts a message to a new conversation, and prints it and the answer as it grows.

    pip install -r examples/requirements.txt
    python examples/chat.py "Hello"

On a lost connection it reconnects after the time given by the server (`retry:`), with the last number that it received
in `Last-Event-ID`: it misses no event and gets none twice. Deltas of a running answer have no number. The server sends the text
so far again, as `output_snapshot`.
"""

import json
import os
import sys
import time
import uuid

import httpx
from httpx_sse import SSEError, connect_sse

URL = os.environ.get("CORTEX_URL", "http://127.0.0.1:8000")
EMAIL = os.environ.get("CORTEX_EMAIL", "user@example.com")
PASSWORD = os.environ.get("CORTEX_PASSWORD", "password123")


def main(content):
    # Heartbeats come every 30 seconds, so a stream that is silent for longer is lost.
    with httpx.Client(base_url=URL, timeout=httpx.Timeout(10, read=75)) as http:
        login = http.post("/auth/login", json={"email": EMAIL, "password": PASSWORD}).raise_for_status()
        http.headers["Authorization"] = f"Bearer {login.json()['access_token']}"
        chat = http.post("/conversations", json={"title": "Example"}).raise_for_status().json()["id"]

        posted, text, shown = False, "", 0
        for event in events(http, f"/output/stream?conversation_id={chat}"):
            kind, data = event["type"], event.get("data", {})
            if kind == "connection_established" and not posted:
                # The stream is open, so it will have the message and everything after it.
                post(http, chat, content)
                posted = True
            elif kind == "input":
                print(f"{data['sender_name']}: {data['content']}")
            elif kind == "output_delta":
                text += data["delta"]
            elif kind == "output_snapshot":
                text = data["text"]
            elif kind == "output":
                text = data["content"]
            elif kind == "output_error":
                sys.exit(f"\nno answer: {data['error']}")
            print(text[shown:], end="", flush=True)
            shown = len(text)
            if kind == "output":
                print()
                sys.exit(None if data["status"] == "complete" else f"the answer was {data['status']} {data.get('error', '')}")


def events(http, path):
    """The events of a stream, from one connection to the next."""
    last_event_id, retry_seconds = "", 3.0
    while True:
        headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
        try:
            with connect_sse(http, "GET", path, headers=headers) as source:
                if source.response.status_code < 500:
                    source.response.raise_for_status()
                for event in source.iter_sse():
                    if event.retry is not None:
                        retry_seconds = event.retry / 1000
                    # A block that only sets `retry:` arrives without data.
                    if event.data:
                        yield json.loads(event.data)
                    last_event_id = event.id or last_event_id
        except (httpx.TransportError, SSEError) as error:
            print(f"\nreconnecting: {error!r}", file=sys.stderr)
        time.sleep(retry_seconds)


def post(http, chat, content):
    """Posts a message. The key ensures that a request whose response was lost can be repeated and is stored once."""
    key = {"Idempotency-Key": str(uuid.uuid4())}
    while True:
        try:
            response = http.post("/input", json={"conversation_id": chat, "content": content}, headers=key)
            if response.status_code < 500:
                return response.raise_for_status().json()["data"]
        except httpx.TransportError:
            pass
        time.sleep(1)


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]) or input("> "))
