//! The shapes of providers, servers and gateways, one fact per row, from their documentation, source and public issues.

use super::tests::read_all;
use crate::responder::FailureKind;

/// What is expected of a body.
enum Expected {
    /// Text, reasoning and finish reason.
    Text(&'static str, &'static str, Option<&'static str>),
    /// As `Text`, with tokens: prompt, completion, reasoning, cached; -1 is an unknown count.
    Tokens(&'static str, [i64; 4]),
    /// A failure with the end of its message.
    Fails(FailureKind, &'static str),
}

use Expected::{Fails, Text, Tokens};

/// The provider, the fact, where it is stated or was seen, and the data of its events. One that begins with `plain` is a body of
/// its own; one that begins with `event:` has its fields.
type ProviderRow = (&'static str, &'static str, &'static str, &'static [&'static str], Expected);

/// The fact is plausible, but was found in no public place.
const UNKNOWN: &str = "no public source";

const END: &str = "[DONE]";
const STOP: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;

const ROWS: &[ProviderRow] = &[
    (
        "OpenAI",
        "counts come in a chunk without choices",
        "recorded stream in vercel/ai",
        &[
            r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"finish_reason":null}],"usage":null}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}],"usage":null,"obfuscation":"x1"}"#,
            STOP,
            r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":3}}}"#,
            END,
        ],
        Tokens("a", [9, 5, 3, 4]),
    ),
    (
        "Azure OpenAI",
        "the first chunk has only filter results and an empty list of choices",
        "recorded stream in vercel/ai, azure-model-router",
        &[
            r#"{"choices":[],"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"a"},"content_filter_results":{"hate":{"filtered":false}}}]}"#,
            r#"{"choices":[{"index":0,"delta":{},"finish_reason":"content_filter"}]}"#,
            END,
        ],
        Text("a", "", Some("content_filter")),
    ),
    (
        "Azure OpenAI",
        "the asynchronous filter sends choices without a delta, also after the finish reason",
        "Azure documentation, content streaming",
        &[
            r#"{"id":"","model":"","choices":[{"index":0,"finish_reason":null,"content_filter_results":{},"content_filter_offsets":{"check_offset":44,"start_offset":44,"end_offset":198}}],"usage":null}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}"#,
            STOP,
            r#"{"id":"","model":"","choices":[{"index":0,"finish_reason":null,"content_filter_results":{},"content_filter_offsets":{"check_offset":198,"start_offset":44,"end_offset":198}}],"usage":null}"#,
            END,
        ],
        Text("a", "", Some("stop")),
    ),
    (
        "llama.cpp",
        "an error in the stream",
        "llama.cpp PR 16109",
        &[r#"{"error":{"code":500,"message":"Context size has been exceeded.","type":"server_error"}}"#],
        Fails(FailureKind::Reported, ": Context size has been exceeded."),
    ),
    (
        "llama.cpp",
        "timings stand in for counts; cached tokens are counted apart",
        "tools/server, result_timings",
        &[
            r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}"#,
            r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"timings":{"cache_n":6,"prompt_n":4,"predicted_n":2}}"#,
            END,
        ],
        Tokens("a", [10, 2, -1, 6]),
    ),
    (
        "llama.cpp",
        "reasoning in a field of its own",
        "ollama, llm/llama_server.go, which reads it",
        &[
            r#"{"choices":[{"delta":{"reasoning_content":"r"}}]}"#,
            r#"{"choices":[{"delta":{"content":"a"}}]}"#,
            STOP,
            END,
        ],
        Text("a", "r", Some("stop")),
    ),
    (
        "Ollama",
        "the compatible mode names its field `reasoning`",
        "openai/openai.go, Delta and FinishChunk",
        &[
            r#"{"choices":[{"index":0,"delta":{"role":"assistant","reasoning":"r"},"finish_reason":null}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}"#,
            STOP,
            END,
        ],
        Text("a", "r", Some("stop")),
    ),
    (
        "Ollama",
        "its own mode sends lines, and counts in the last",
        "api/types.go, ChatResponse",
        &[
            r#"plain{"message":{"role":"assistant","content":"a","thinking":"r"},"done":false}"#,
            r#"{"message":{"role":"assistant","content":"b"},"done":false}"#,
            r#"{"message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","prompt_eval_count":7,"eval_count":2}"#,
        ],
        Tokens("ab", [7, 2, -1, -1]),
    ),
    (
        "Ollama",
        "an old version has an empty finish reason in each chunk",
        "Ollama issue 4357",
        &[
            r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":"a"},"finish_reason":""}]}"#,
            r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":"stop"}]}"#,
            END,
        ],
        Text("a", "", Some("stop")),
    ),
    (
        "vLLM",
        "an error after the head",
        "engine/serving.py, create_streaming_error_response",
        &[
            r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}"#,
            r#"{"error":{"message":"engine died","type":"InternalServerError","param":null,"code":500}}"#,
            END,
        ],
        Fails(FailureKind::Reported, ": engine died"),
    ),
    (
        "vLLM",
        "an error after the head, of an old version, is an object of the type `error` within `error`",
        "serving_engine.py before ErrorInfo, create_streaming_error_response",
        &[
            r#"{"error":{"object":"error","message":"engine died","type":"InternalServerError","param":null,"code":500}}"#,
            END,
        ],
        Fails(FailureKind::Reported, ": engine died"),
    ),
    (
        "vLLM",
        "an error in place of an answer, of an old version, is not within `error`",
        "serving_engine.py before ErrorInfo, create_error_response",
        &[r#"plain{"object":"error","message":"engine died","type":"InternalServerError","param":null,"code":500}"#],
        Fails(FailureKind::Reported, ": engine died"),
    ),
    (
        "vLLM",
        "a text that repeats itself is ended",
        "LiteLLM PR 27101",
        &[r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"repetition"}]}"#, END],
        Text("a", "", Some("repetition")),
    ),
    (
        "vLLM",
        "`stop_reason` beside the finish reason is a token or a string",
        "CompletionOutput; chat_completion/protocol.py",
        &[r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop","stop_reason":128009}]}"#, END],
        Text("a", "", Some("stop")),
    ),
    (
        "vLLM",
        "an aborted request",
        "vLLM issue 57082",
        &[r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"abort"}]}"#, END],
        Fails(FailureKind::Reported, ": abort"),
    ),
    (
        "SGLang",
        "`matched_stop` and empty reasoning beside the text",
        "openai/protocol.py, ChatCompletionResponseStreamChoice",
        &[
            r#"{"choices":[{"index":0,"delta":{"content":"a","reasoning_content":null},"finish_reason":"stop","matched_stop":7}]}"#,
            END,
        ],
        Text("a", "", Some("stop")),
    ),
    (
        "SGLang",
        "an error in the stream is an object of the type `error` within `error`",
        "serving_base.py, create_streaming_error_response",
        &[
            r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null,"matched_stop":null}]}"#,
            r#"{"error":{"object":"error","message":"out of memory","type":"INTERNAL_SERVER_ERROR","param":null,"code":500}}"#,
            END,
        ],
        Fails(FailureKind::Reported, ": out of memory"),
    ),
    (
        "SGLang",
        "an aborted request without an error",
        "serving_chat.py, _generate_chat_stream",
        &[r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"abort","matched_stop":null}]}"#, END],
        Fails(FailureKind::Reported, ": abort"),
    ),
    (
        "LM Studio",
        "an error in the stream is an event of the name `error`, its words twice",
        "lmstudio-bug-tracker issue 2322; thane-ai-agent PR 1395",
        &[
            "event: error\ndata: {\"error\":{\"message\":\"the prompt is greater than the context length\"},\"message\":\"the prompt is greater than the context length\"}",
        ],
        Fails(FailureKind::Reported, ": the prompt is greater than the context length"),
    ),
    (
        "LM Studio",
        "an error in place of an answer is a text",
        "lmstudio-bug-tracker issue 237",
        &[r#"plain{"error":"Trying to keep the first 9 tokens when context the overflows."}"#],
        Fails(FailureKind::Reported, "when context the overflows."),
    ),
    (
        "LiteLLM",
        "reasoning twice: as a text and as blocks",
        "types/utils.py, Delta",
        &[
            r#"{"choices":[{"index":0,"delta":{"reasoning_content":"r","thinking_blocks":[{"type":"thinking","thinking":"r","signature":null}],"content":""}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"a"}}]}"#,
            STOP,
            END,
        ],
        Text("a", "r", Some("stop")),
    ),
    (
        "LiteLLM",
        "an error in the stream has its code as a text",
        "proxy/_types.py, ProxyException; issue 5175",
        &[r#"{"error":{"message":"litellm.APIError: gone","type":null,"param":null,"code":"500"}}"#],
        Fails(FailureKind::Reported, ": litellm.APIError: gone"),
    ),
    (
        "OpenRouter",
        "an error in the middle comes beside a choice",
        "OpenRouter documentation, errors during streaming",
        &[
            r#"{"choices":[{"index":0,"delta":{"content":"a"}}]}"#,
            r#"{"error":{"code":502,"message":"Provider disconnected"},"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}"#,
        ],
        Fails(FailureKind::Reported, ": Provider disconnected"),
    ),
    (
        "OpenRouter",
        "an error in the middle comes beside an empty list of choices",
        "OmniRoute PR 8210",
        &[r#"{"choices":[],"error":{"code":502,"message":"Worker local total request limit reached (33/32)"}}"#],
        Fails(FailureKind::Reported, "limit reached (33/32)"),
    ),
    (
        "OpenRouter",
        "an error in the choice of a completion, and counts that are `null`",
        "koog, OpenRouterChoice; bifrost issue 5425",
        &[
            r#"plain{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"error","error":{"code":502,"message":"Provider returned error","metadata":{"raw":"boom"}}}],"usage":{"prompt_tokens":null,"completion_tokens":null,"total_tokens":0}}"#,
        ],
        Fails(FailureKind::Reported, ": Provider returned error: boom"),
    ),
    (
        "OpenRouter",
        "reasoning as a text and as details; the model's own reason beside the finish reason",
        "OpenRouterTeam/ai-sdk-provider, chat/schemas.ts",
        &[
            r#"{"choices":[{"delta":{"content":"","reasoning":"r","reasoning_details":[{"type":"reasoning.text","text":"r"}]}}]}"#,
            r#"{"choices":[{"delta":{"content":"a"},"finish_reason":"length","native_finish_reason":"MAX_TOKENS"}]}"#,
            END,
        ],
        Text("a", "r", Some("length")),
    ),
    (
        "Mistral",
        "thinking and text are parts of the content",
        "recorded stream in vercel/ai, magistral-medium",
        &[
            r#"{"choices":[{"index":0,"delta":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"r"}]}]}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}"#,
            END,
        ],
        Text("a", "r", Some("stop")),
    ),
    (
        "Mistral",
        "the end of the context is a reason of its own",
        "mistralai/client-python, ChatCompletionChoiceFinishReason",
        &[r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"model_length"}]}"#, END],
        Text("a", "", Some("model_length")),
    ),
    (
        "Mistral",
        "the message of an error is an object with details",
        "logs of several clients",
        &[
            r#"plain{"object":"error","message":{"detail":[{"type":"extra_forbidden","loc":["body","x"],"msg":"Extra inputs are not permitted"}]},"type":"invalid_request_error","param":null,"code":null}"#,
        ],
        Fails(FailureKind::Reported, ": Extra inputs are not permitted"),
    ),
    (
        "DeepSeek",
        "cached tokens have a name of their own",
        "recorded stream in vercel/ai, deepseek-reasoner",
        &[
            r#"{"choices":[{"index":0,"delta":{"content":null,"reasoning_content":"r"}}],"usage":null}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"a","reasoning_content":null},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":5,"prompt_cache_hit_tokens":8,"prompt_cache_miss_tokens":1}}"#,
            END,
        ],
        Tokens("a", [9, 5, -1, 8]),
    ),
    (
        "DeepSeek",
        "a lack of resources is a finish reason",
        "vercel/ai, map-deepseek-finish-reason.ts",
        &[r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"insufficient_system_resource"}]}"#, END],
        Fails(FailureKind::Reported, ": insufficient_system_resource"),
    ),
    (
        "Gemini's compatible mode",
        "an error is in a list",
        "ComfyUI-NewBie-LLM-Formatter issue 3",
        &[r#"plain[{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}]"#],
        Fails(FailureKind::Reported, ": The model is overloaded."),
    ),
    (
        "Gemini's compatible mode",
        "a malformed call is a finish reason with a prefix",
        "logs of several clients of v1beta/openai",
        &[
            r#"{"choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":"function_call_filter: MALFORMED_FUNCTION_CALL"}]}"#,
            END,
        ],
        Fails(FailureKind::Reported, "MALFORMED_FUNCTION_CALL"),
    ),
    (
        "Gemini's compatible mode",
        "thoughts are between tags of its own, the last of which begins the text",
        "logs of several clients, Gemma 4",
        &[
            r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":"<thought>r","extra_content":{"google":{"thought":true}}}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"</thought>a"}}]}"#,
            STOP,
            END,
        ],
        Text("a", "r", Some("stop")),
    ),
    (
        "Groq",
        "counts are in a field of its own in the last chunk",
        "groq-python, chat_completion_chunk.py, XGroq",
        &[
            r#"{"choices":[{"index":0,"delta":{"content":"a"}}],"x_groq":{"id":"req_1"}}"#,
            r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"x_groq":{"id":"req_1","usage":{"prompt_tokens":4,"completion_tokens":2}}}"#,
            END,
        ],
        Tokens("a", [4, 2, -1, -1]),
    ),
    (
        "Groq",
        "an error in the same field",
        "groq-python, chat_completion_chunk.py, XGroq",
        &[r#"{"choices":[],"x_groq":{"error":"failed to generate"}}"#],
        Fails(FailureKind::Reported, ": failed to generate"),
    ),
    (
        "Together",
        "`eos` is a finish reason; the legacy text is repeated beside the delta",
        "together-python, types/common.py",
        &[
            r#"{"choices":[{"index":0,"text":"a","delta":{"token_id":5,"content":"a"},"finish_reason":"eos"}],"usage":null}"#,
            END,
        ],
        Text("a", "", Some("eos")),
    ),
    (
        "xAI",
        "chunks without text while it thinks; counts in a chunk without choices",
        "recorded stream in vercel/ai, grok-3-mini",
        &[
            r#"{"choices":[{"index":0,"delta":{"role":"assistant","reasoning_content":"r"}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"a"}}]}"#,
            STOP,
            r#"{"choices":[],"usage":{"prompt_tokens":12,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":11},"completion_tokens_details":{"reasoning_tokens":8}}}"#,
            END,
        ],
        Tokens("a", [12, 2, 8, 11]),
    ),
    (
        "xAI",
        "an error is a text beside a code that is a sentence",
        "vercel/ai, xai-error.ts",
        &[r#"plain{"code":"The service is currently unavailable","error":"Model is at capacity"}"#],
        Fails(FailureKind::Reported, ": Model is at capacity"),
    ),
    (
        "Cohere",
        "gateways pass its own words on as finish reasons",
        "cohere-openapi.yaml, ChatFinishReason",
        &[r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"COMPLETE"}]}"#, END],
        Text("a", "", Some("COMPLETE")),
    ),
    (
        "Cohere",
        "the end of the context is a reason of its own",
        "cohere-openapi.yaml, ERROR_LIMIT",
        &[r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"ERROR_LIMIT"}]}"#, END],
        Text("a", "", Some("ERROR_LIMIT")),
    ),
    (
        "Bedrock gateways",
        "its own finish reason is passed on",
        "bedrock-access-gateway issue 11",
        &[r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"end_turn"}]}"#, END],
        Text("a", "", Some("end_turn")),
    ),
    (
        "Gateways of Anthropic",
        "counts in its words",
        UNKNOWN,
        &[
            r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}"#,
            r#"{"choices":[],"usage":{"input_tokens":6,"output_tokens":1,"cache_read_input_tokens":2}}"#,
            END,
        ],
        Tokens("a", [6, 1, -1, 2]),
    ),
    (
        "Anthropic",
        "gateways pass its overload in the middle on, an object of the type `error`",
        "Anthropic documentation, error events; anthropic-sdk-python issue 688",
        &[r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#],
        Fails(FailureKind::Reported, ": Overloaded"),
    ),
    (
        "RunPod",
        "its queue wraps the completion in a list",
        "worker-vllm, handler.py and `return_aggregate_stream`",
        &[
            r#"plain{"id":"1","status":"COMPLETED","output":[{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}]}]}"#,
        ],
        Text("a", "", Some("stop")),
    ),
    (
        "RunPod",
        "a worker of one result wraps the completion",
        UNKNOWN,
        &[
            r#"plain{"status":"COMPLETED","output":{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}]}}"#,
        ],
        Text("a", "", Some("stop")),
    ),
    (
        "SiliconFlow",
        "an error has a code and a message, without choices",
        "SiliconFlow API reference, 503",
        &[r#"{"code":50505,"message":"Model service overloaded.","data":null}"#],
        Fails(FailureKind::Reported, ": Model service overloaded."),
    ),
    (
        "TGI",
        "an error in the stream of an old version is a text with a type",
        "huggingface_hub PR 2558",
        &[r#"{"error":"Request failed during generation","error_type":"generation"}"#],
        Fails(FailureKind::Reported, ": Request failed during generation"),
    ),
    (
        "TGI",
        "an error in the stream has the status 422, whatever it is",
        "router/src/infer/mod.rs, into_openai_event",
        &[r#"{"error":{"message":"Request failed during generation: Server error","http_status_code":422}}"#, END],
        Fails(FailureKind::Reported, ": Request failed during generation: Server error"),
    ),
    (
        "TGI",
        "`eos_token` is a finish reason, and a stream ends without [DONE], in old versions",
        "TGI PR 2344 and PR 2221",
        &[r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"eos_token"}]}"#],
        Text("a", "", Some("eos_token")),
    ),
    (
        "Perplexity",
        "each chunk repeats the whole text in `message`",
        "Perplexity documentation, stream mode `full`",
        &[
            r#"{"choices":[{"index":0,"message":{"content":"a"},"delta":{"content":"a"}}]}"#,
            r#"{"choices":[{"index":0,"message":{"content":"ab"},"delta":{"content":"b"},"finish_reason":"stop"}]}"#,
        ],
        Text("ab", "", Some("stop")),
    ),
    (
        "Moonshot",
        "counts are in the choice",
        "beam_weaver 0.1.12, the documented shape",
        &[
            r#"{"choices":[{"index":0,"delta":{"content":"a"}}]}"#,
            r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop","usage":{"prompt_tokens":19,"completion_tokens":13,"cached_tokens":12}}]}"#,
            END,
        ],
        Tokens("a", [19, 13, -1, 12]),
    ),
    (
        "MiniMax",
        "an error is a status beside `choices: null`",
        "logs of several clients",
        &[r#"{"choices":null,"base_resp":{"status_code":1008,"status_msg":"insufficient balance"}}"#],
        Fails(FailureKind::Reported, ": insufficient balance"),
    ),
    (
        "MiniMax",
        "the last event is a completion with the whole text; counts before it are zero",
        "OpenBitFun PR 792; MiniMax-M2.5 issue 2",
        &[
            r#"{"choices":[{"index":0,"delta":{"role":"","reasoning_content":"r"}}],"object":"chat.completion.chunk","usage":{"total_tokens":0,"total_characters":0}}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"a"}}],"usage":{"total_tokens":0},"base_resp":{"status_code":0,"status_msg":""}}"#,
            r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"a","reasoning_content":"r"},"finish_reason":"stop"}],"object":"chat.completion","usage":{"prompt_tokens":5,"completion_tokens":4}}"#,
        ],
        Tokens("a", [5, 4, -1, -1]),
    ),
    (
        "Zhipu",
        "a broken connection behind it is a finish reason",
        "LiteLLM, _FINISH_REASON_MAP",
        &[r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"network_error"}]}"#, END],
        Fails(FailureKind::Reported, ": network_error"),
    ),
    (
        "DashScope",
        "text and reasoning are `null` in turn; counts in a chunk without choices",
        "recorded stream in vercel/ai, qwen3-max",
        &[
            r#"{"choices":[{"index":0,"delta":{"content":null,"role":"assistant","reasoning_content":""},"finish_reason":null}],"usage":null}"#,
            r#"{"choices":[{"index":0,"delta":{"content":null,"reasoning_content":"r"},"finish_reason":null}],"usage":null}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"a","reasoning_content":null},"finish_reason":null}],"usage":null}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"","reasoning_content":null},"finish_reason":"stop"}],"usage":null}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":4,"completion_tokens_details":{"reasoning_tokens":2},"prompt_tokens_details":{"cached_tokens":0}}}"#,
            END,
        ],
        Tokens("a", [5, 4, 2, 0]),
    ),
    (
        "Fireworks",
        "reasoning is between tags in the text",
        "Fireworks documentation, DeepSeek models",
        &[
            r#"{"choices":[{"index":0,"delta":{"content":"<think>\nr"}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"</think>\n\na"}}]}"#,
            STOP,
            END,
        ],
        Text("a", "\nr", Some("stop")),
    ),
    (
        "Cerebras",
        "counts and timings come with the finish reason",
        "recorded stream in vercel/ai, zai-glm-4.7",
        &[
            r#"{"choices":[{"index":0,"delta":{"content":"a"}}]}"#,
            r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":8,"completion_tokens":1},"time_info":{"queue_time":0.1}}"#,
        ],
        Tokens("a", [8, 1, -1, -1]),
    ),
    (
        "Cerebras",
        "an error in the stream has its status beside it",
        "cerebras-cloud-sdk-python, ErrorChunkResponse",
        &[r#"{"error":{"message":"boom","type":"server_error","param":null,"code":"server_error"},"status_code":500}"#],
        Fails(FailureKind::Reported, ": boom"),
    ),
    (
        "watsonx",
        "a time limit is a finish reason",
        "watsonx-ai-node-sdk, TextChatResultChoice.Constants.FinishReason",
        &[
            r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"b"},"finish_reason":"time_limit"}]}"#,
        ],
        Fails(FailureKind::Reported, ": time_limit"),
    ),
    (
        "watsonx",
        "the generation of text, which gateways pass on, says of a piece that it is not the last",
        "watsonx-ai-node-sdk, TextGenResult.Constants.StopReason",
        &[
            r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"not_finished"}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"b"},"finish_reason":"eos_token"}]}"#,
        ],
        Text("ab", "", Some("eos_token")),
    ),
    (
        "Hugging Face Inference API",
        "a plain error is a text",
        "logs of several clients",
        &[r#"plain{"error":"Model too busy, unable to get response in less than 120 second(s)"}"#],
        Fails(FailureKind::Reported, "120 second(s)"),
    ),
    (
        "Cloudflare Workers AI",
        "an error is in a list beside `success: false`",
        "cloudflare-ai for Ruby, README.md",
        &[
            r#"plain{"result":null,"success":false,"errors":[{"code":7009,"message":"Upstream service unavailable"}],"messages":[]}"#,
        ],
        Fails(FailureKind::Reported, ": Upstream service unavailable"),
    ),
    (
        "AWS API Gateway",
        "a bare message",
        "logs of several clients; load balancers send HTML",
        &[r#"plain{"message":"Endpoint request timed out"}"#],
        Fails(FailureKind::Reported, ": Endpoint request timed out"),
    ),
    (
        "FastAPI servers",
        "an error is a detail",
        "FastAPI documentation, HTTPException",
        &[r#"plain{"detail":"Not enough memory"}"#],
        Fails(FailureKind::Reported, ": Not enough memory"),
    ),
];

#[test]
fn providers_are_read_by_their_shapes() {
    for (provider, fact, source, events, expected) in ROWS {
        let body = match events[0].strip_prefix("plain") {
            Some(first) => std::iter::once(first)
                .chain(events[1..].iter().copied())
                .fold(String::new(), |body, line| body + line + "\n"),
            None => events.iter().fold(String::new(), |body, data| {
                let field = if data.starts_with("event:") { "" } else { "data: " };
                body + field + data + "\n\n"
            }),
        };
        for size in [3, body.len()] {
            let (pieces, end) = read_all(body.as_bytes().chunks(size), true);
            let name = format!("{provider}: {fact} ({source}): {end:?}");
            match expected {
                Text(text, reasoning, reason) => {
                    assert_eq!((&pieces.text[..], &pieces.reasoning[..]), (*text, *reasoning), "{name}");
                    assert_eq!(end.expect(&name).finish_reason.as_deref(), *reason, "{name}");
                }
                Tokens(text, counts) => {
                    assert_eq!(&pieces.text[..], *text, "{name}");
                    let end = end.expect(&name);
                    let read = [end.prompt_tokens, end.completion_tokens, end.reasoning_tokens, end.cached_tokens];
                    assert_eq!(read.map(|count| count.map_or(-1, |count| count as i64)), *counts, "{name}");
                }
                Fails(kind, words) => {
                    let failure = end.expect_err(&name);
                    assert_eq!(failure.kind, *kind, "{name}");
                    assert!(failure.message.ends_with(words), "{name}");
                }
            }
        }
    }
}

#[test]
fn the_table_has_many_providers() {
    let names: std::collections::BTreeSet<_> = ROWS.iter().map(|(provider, ..)| provider).collect();
    assert!(names.len() >= 25, "{}", names.len());
}

/// A server that says so in an answer, where it says so, and its words: the context is too long.
const CONTEXTS: &[(&str, &str, &str)] = &[
    ("OpenAI", "LiteLLM issue 29223", "Your input exceeds the context window of this model."),
    (
        "vLLM",
        "logs of several clients",
        "The decoder prompt (length 8357) is longer than the maximum model length of 8192.",
    ),
    (
        "SGLang",
        "managers/utils.py, validate_input_length",
        "Input length (9000 tokens) exceeds the maximum allowed length (8186 tokens).",
    ),
    (
        "SGLang",
        "tokenizer_manager.py, _validate_one_request",
        "The input (9000 tokens) is longer than the model's context length (8192 tokens).",
    ),
    (
        "SGLang",
        "tokenizer_manager.py, _validate_one_request",
        "Requested token count exceeds the model's maximum context length of 8192 tokens.",
    ),
    ("llama-cpp-python", "llama_chat_format.py", "Prompt exceeds n_ctx: 2049 > 2048"),
    ("LM Studio", "lmstudio-ai/examples issue 29", "Input length 6491 exceeds context length 1500"),
    (
        "LM Studio",
        "lmstudio-bug-tracker issue 2205",
        "The number of tokens to keep from the initial prompt is greater than the context length.",
    ),
    ("Ollama's cloud", "pi-ai, overflow.ts", "prompt too long; exceeded max context length by 100918 tokens"),
    (
        "TGI",
        "validation.rs, InputLength",
        "Input validation error: `inputs` must have less than 4096 tokens. Given: 5000",
    ),
    ("MiniMax", "pi-ai, overflow.ts", "invalid params, context window exceeds limit (2013)"),
    ("Zhipu", "logs of several clients, code 1261", "Prompt exceeds max length"),
    ("Bedrock", "LiteLLM, exception_mapping_utils.py", "Too many input tokens. Max input tokens: 8192"),
    (
        "Anthropic",
        "continue issue 6136",
        "input length and `max_tokens` exceed context limit: 198214 + 8192 > 200000, decrease input length",
    ),
    ("Moonshot", "pi-ai, overflow.ts", "Invalid request: Your request exceeded model token limit: 8192"),
    ("DashScope", "DashScope error codes; qwen-code issue 3652", "Range of input length should be [1, 6000]"),
    ("Cohere", "LiteLLM, exception_mapping_utils.py", "too many tokens: total number of tokens cannot exceed 4081"),
];

/// A server, where it says so, and its words: the account must be paid.
const BILLS: &[(&str, &str, &str)] = &[
    ("OpenAI", "logs of several clients, 429", "credit_balance_exhausted"),
    (
        "xAI",
        "logs of several clients, 403 and 429",
        "Your team has either used all available credits or reached its limit.",
    ),
    (
        "Hugging Face",
        "logs of several clients, 402",
        "You have exceeded your monthly included credits for Inference Providers.",
    ),
    (
        "Zhipu",
        "continue issue 10296, 429",
        "\u{4f59}\u{989d}\u{4e0d}\u{8db3}\u{6216}\u{65e0}\u{53ef}\u{7528}\u{8d44}\u{6e90}\u{5305}",
    ),
    ("Zhipu", "vercel/ai issue 9290, 429", "Insufficient balance or no resource package. Please recharge."),
    ("Moonshot", "logs of several clients, 429", "exceeded_current_quota_error"),
];

#[test]
fn providers_are_understood_where_another_attempt_fails_too() {
    let contexts = CONTEXTS.iter().map(|row| (row, true));
    for ((provider, source, words), is_context) in contexts.chain(BILLS.iter().map(|row| (row, false))) {
        let body = format!("data: {}\n\n", serde_json::json!({"error": {"message": words}}));
        let failure = read_all([body.as_bytes()], true).1.expect_err(provider);
        let read = (failure.context_too_long, failure.retryable);
        assert_eq!(read, (is_context, false), "{provider}: {words} ({source})");
    }
}
