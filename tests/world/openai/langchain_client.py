"""Makes requests with LangChain's `ChatOpenAI`."""

from langchain_openai import ChatOpenAI

import script


def add(answer, message):
    """Adds what a message of LangChain says, whole or the sum of its pieces."""
    answer["tool_calls"] = [{"id": call["id"], "name": call["name"], "arguments": call["args"]} for call in message.tool_calls]
    facts = message.response_metadata
    answer["finish_reason"], answer["model"] = facts.get("finish_reason"), facts.get("model_name")
    script.add_headers(answer, facts.get("headers", {}))
    # LangChain keeps the id of a whole answer only.
    answer["id"] = facts.get("id")
    if message.usage_metadata:
        answer["usage"] = [message.usage_metadata[name] for name in ("input_tokens", "output_tokens", "total_tokens")]


def ask(request, answer):
    parameters = dict(request.get("parameters", {}))
    parameters["stream_usage"] = "stream_options" in parameters
    parameters.pop("stream_options", None)
    # LangChain keeps its parameter `metadata` for its own traces.
    body = {name: request[name] for name in ("metadata",) if name in request} | request.get("unknown", {})
    model = ChatOpenAI(
        model=request["model"],
        base_url=script.URL,
        api_key=script.token(request),
        max_retries=request.get("retries", 0),
        timeout=script.TIMEOUT_SECONDS,
        default_headers=request.get("headers"),
        include_response_headers=True,
        extra_body=body or None,
        **parameters,
    )
    if "tools" in request:
        model = model.bind_tools(request["tools"])
    if not request.get("stream"):
        message = model.invoke(request["messages"])
        script.add_text(answer, message.content)
        add(answer, message)
        return
    whole = None
    stream = model.stream(request["messages"])
    for piece in stream:
        whole = piece if whole is None else whole + piece
        script.add_text(answer, piece.content)
        if script.is_enough(request, answer):
            stream.close()
            return
    add(answer, whole)


script.run(ask)
