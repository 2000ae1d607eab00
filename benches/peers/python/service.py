"""The service of the first design: FastAPI, messages in memory, an event bus of queues.

It has the three requests that are measured: GET /, POST /input and GET /output/stream. Nothing is kept on disk.
"""

import asyncio
import json
import os
import uuid
from datetime import datetime

from fastapi import Depends, FastAPI, HTTPException
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import StreamingResponse
from fastapi.security import OAuth2PasswordBearer
from jose import JWTError, jwt
from pydantic import BaseModel, Field

HEARTBEAT_SECONDS = 30

app = FastAPI(title="Cortex Core")
app.add_middleware(
    CORSMiddleware, allow_origins=["*"], allow_credentials=True, allow_methods=["*"], allow_headers=["*"]
)
bearer = OAuth2PasswordBearer(tokenUrl="auth/login")
secret = os.environ["JWT_SECRET_KEY"]


class User(BaseModel):
    user_id: str
    name: str
    email: str


class Input(BaseModel):
    content: str
    conversation_id: str | None = None
    metadata: dict = Field(default_factory=dict)


class Message(BaseModel):
    id: str = Field(default_factory=lambda: str(uuid.uuid4()))
    conversation_id: str
    sender_id: str
    content: str
    timestamp: str
    metadata: dict = Field(default_factory=dict)


class Received(BaseModel):
    status: str
    data: dict


messages: dict[str, dict] = {}
subscribers: list[asyncio.Queue] = []


async def current_user(token: str = Depends(bearer)) -> User:
    try:
        claims = jwt.decode(token, secret, algorithms=["HS256"])
        return User(user_id=claims["oid"], name=claims["name"], email=claims["email"])
    except (JWTError, KeyError) as error:
        raise HTTPException(401, "invalid token", {"WWW-Authenticate": "Bearer"}) from error


@app.get("/")
async def root():
    return {"status": "online", "service": "Cortex Core"}


@app.post("/input", response_model=Received)
async def receive(request: Input, user: User = Depends(current_user)):
    timestamp = datetime.now().isoformat()
    message = Message(
        conversation_id=request.conversation_id or "default",
        sender_id=user.user_id,
        content=request.content,
        timestamp=timestamp,
        metadata=request.metadata,
    )
    messages[message.id] = message.model_dump()
    data = {"content": message.content, "conversation_id": message.conversation_id, "timestamp": timestamp}
    event = {
        "type": "input",
        "data": data,
        "user_id": user.user_id,
        "timestamp": timestamp,
        "metadata": message.metadata,
    }
    for queue in subscribers:
        await queue.put(event)
    return Received(status="received", data={**data, "metadata": message.metadata})


async def events(queue: asyncio.Queue, user_id: str):
    def frame(event: dict) -> str:
        return f"data: {json.dumps(event)}\n\n"

    try:
        now = datetime.now().isoformat()
        yield frame({"type": "connection_established", "user_id": user_id, "timestamp": now})
        while True:
            try:
                event = await asyncio.wait_for(queue.get(), HEARTBEAT_SECONDS)
            except asyncio.TimeoutError:
                yield frame({"type": "heartbeat", "timestamp": datetime.now().isoformat()})
                continue
            if event["user_id"] == user_id:
                yield frame(event)
    finally:
        subscribers.remove(queue)


@app.get("/output/stream")
async def stream(user: User = Depends(current_user)):
    queue: asyncio.Queue = asyncio.Queue()
    subscribers.append(queue)
    return StreamingResponse(events(queue, user.user_id), media_type="text/event-stream")
