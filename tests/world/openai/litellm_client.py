"""Makes requests with LiteLLM as a library."""

import litellm

import script

litellm.suppress_debug_info = True


def ask(request, answer):
    parameters = dict(request.get("parameters", {}))
    if "tools" in request:
        parameters["tools"] = request["tools"]
    # LiteLLM keeps its parameter `metadata` for its own logs.
    body = {name: request[name] for name in ("metadata",) if name in request} | request.get("unknown", {})
    response = litellm.completion(
        model=f"openai/{request['model']}",
        api_base=script.URL,
        api_key=script.token(request),
        messages=request["messages"],
        stream=request.get("stream", False),
        extra_headers=request.get("headers"),
        extra_body=body,
        max_retries=request.get("retries", 0),
        timeout=script.TIMEOUT_SECONDS,
        **parameters,
    )
    script.add_headers(answer, response._response_headers)
    script.add_response(
        request, answer, response, lambda part: part.model_dump(), lambda: response.completion_stream.close()
    )


script.run(ask)
