"""Follows a stream with aiohttp-sse-client. In the environment: SERVER, TOKEN."""

import asyncio
import json
import os
import sys

import aiohttp
from aiohttp_sse_client.client import EventSource

from show import show


async def follow(server, token):
    last_event_id = ""
    # A line is one event; by default it may have 128 KiB.
    async with aiohttp.ClientSession(read_bufsize=4 * 1024 * 1024, timeout=aiohttp.ClientTimeout(sock_read=60)) as session:
        while True:
            headers = {"Authorization": f"Bearer {token}", "Last-Event-ID": last_event_id}
            try:
                # It reconnects by itself after an end, but not after an error.
                async with EventSource(f"{server}/output/stream", session=session, headers=headers) as source:
                    async for event in source:
                        if show(event.last_event_id, json.loads(event.data)):
                            return
                        last_event_id = event.last_event_id
            except (aiohttp.ClientError, ConnectionError, asyncio.TimeoutError) as error:
                print(f"reconnecting after {last_event_id}: {error!r}", file=sys.stderr)
            await asyncio.sleep(3)


asyncio.run(follow(os.environ["SERVER"], os.environ["TOKEN"]))
