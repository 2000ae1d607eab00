//! The shapes of providers, servers and gateways, one fact per row, from their documentation and public issues.

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

/// The provider, the fact, and the data of its events; one that begins with `plain` is a body of its own.
type ProviderRow = (&'static str, &'static str, &'static [&'static str], Expected);

const END: &str = "[DONE]";
const STOP: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;

const ROWS: &[ProviderRow] = &[
    (
        "OpenAI",
        "counts come in a chunk without choices",
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
        &[
            r#"{"choices":[],"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"a"},"content_filter_results":{"hate":{"filtered":false}}}]}"#,
            r#"{"choices":[{"index":0,"delta":{},"finish_reason":"content_filter"}]}"#,
            END,
        ],
        Text("a", "", Some("content_filter")),
    ),
    (
        "llama.cpp",
        "an error in the stream",
        &[r#"{"error":{"code":500,"message":"Context size has been exceeded.","type":"server_error"}}"#],
        Fails(FailureKind::Reported, ": Context size has been exceeded."),
    ),
    (
        "llama.cpp",
        "timings stand in for counts; cached tokens are counted apart",
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
        &[
            r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":"","reasoning":"r"},"finish_reason":null}]}"#,
            r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":"a"},"finish_reason":"stop"}]}"#,
            END,
        ],
        Text("a", "r", Some("stop")),
    ),
    (
        "Ollama",
        "its own mode sends lines, and counts in the last",
        &[
            r#"plain{"message":{"role":"assistant","content":"a","thinking":"r"},"done":false}"#,
            r#"{"message":{"role":"assistant","content":"b"},"done":false}"#,
            r#"{"message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","prompt_eval_count":7,"eval_count":2}"#,
        ],
        Tokens("ab", [7, 2, -1, -1]),
    ),
    (
        "vLLM",
        "an error after the head, as an event of the type `error`",
        &[r#"{"object":"error","message":"engine died","type":"InternalServerError","param":null,"code":500}"#, END],
        Fails(FailureKind::Reported, ": engine died"),
    ),
    (
        "vLLM",
        "`stop_reason` beside the finish reason is a token or a string",
        &[r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop","stop_reason":128009}]}"#, END],
        Text("a", "", Some("stop")),
    ),
    (
        "vLLM",
        "an aborted request",
        &[r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"abort"}]}"#, END],
        Fails(FailureKind::Reported, ": abort"),
    ),
    (
        "SGLang",
        "`matched_stop` and empty reasoning beside the text",
        &[
            r#"{"choices":[{"index":0,"delta":{"content":"a","reasoning_content":null},"finish_reason":"stop","matched_stop":7}]}"#,
            END,
        ],
        Text("a", "", Some("stop")),
    ),
    (
        "LM Studio",
        "the error is a text beside a message",
        &[r#"{"error":"Trying to keep the first 9 tokens when context the overflows."}"#],
        Fails(FailureKind::Reported, "when context the overflows."),
    ),
    (
        "LiteLLM",
        "reasoning twice: as a text and as blocks",
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
        &[r#"{"error":{"message":"litellm.APIError: gone","type":null,"param":null,"code":"500"}}"#],
        Fails(FailureKind::Reported, ": litellm.APIError: gone"),
    ),
    (
        "OpenRouter",
        "an error in the middle comes beside a choice",
        &[
            r#"{"choices":[{"index":0,"delta":{"content":"a"}}]}"#,
            r#"{"error":{"code":502,"message":"Provider disconnected"},"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}"#,
        ],
        Fails(FailureKind::Reported, ": Provider disconnected"),
    ),
    (
        "OpenRouter",
        "reasoning as a text and as details; the model's own reason beside the finish reason",
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
        &[r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"model_length"}]}"#, END],
        Text("a", "", Some("model_length")),
    ),
    (
        "DeepSeek",
        "cached tokens have a name of their own",
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
        &[r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"insufficient_system_resource"}]}"#, END],
        Fails(FailureKind::Reported, ": insufficient_system_resource"),
    ),
    (
        "Gemini's compatible mode",
        "an error is in a list",
        &[r#"plain[{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}]"#],
        Fails(FailureKind::Reported, ": The model is overloaded."),
    ),
    (
        "Gemini's compatible mode",
        "a malformed call is a finish reason with a prefix",
        &[
            r#"{"choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":"function_call_filter: MALFORMED_FUNCTION_CALL"}]}"#,
            END,
        ],
        Fails(FailureKind::Reported, "MALFORMED_FUNCTION_CALL"),
    ),
    (
        "Groq",
        "counts are in a field of its own in the last chunk",
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
        &[r#"{"choices":[],"x_groq":{"error":"failed to generate"}}"#],
        Fails(FailureKind::Reported, ": failed to generate"),
    ),
    (
        "Together",
        "`eos` is a finish reason; the legacy text is repeated beside the delta",
        &[
            r#"{"choices":[{"index":0,"text":"a","delta":{"token_id":5,"content":"a"},"finish_reason":"eos"}],"usage":null}"#,
            END,
        ],
        Text("a", "", Some("eos")),
    ),
    (
        "xAI",
        "chunks without text while it thinks",
        &[
            r#"{"choices":[{"index":0,"delta":{"role":"assistant","reasoning_content":"r"}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"a"}}],"usage":{"prompt_tokens":3,"completion_tokens":1,"completion_tokens_details":{"reasoning_tokens":8}}}"#,
            STOP,
            END,
        ],
        Tokens("a", [3, 1, 8, -1]),
    ),
    (
        "Cohere's compatible mode",
        "its own words as finish reasons",
        &[r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"COMPLETE"}]}"#, END],
        Text("a", "", Some("COMPLETE")),
    ),
    (
        "Bedrock gateway",
        "counts in Anthropic's words, and its finish reason",
        &[
            r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"end_turn"}]}"#,
            r#"{"choices":[],"usage":{"input_tokens":6,"output_tokens":1,"cache_read_input_tokens":2}}"#,
            END,
        ],
        Tokens("a", [6, 1, -1, 2]),
    ),
    (
        "Anthropic's compatible mode",
        "an overload in the middle is an object of the type `error`",
        &[r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#],
        Fails(FailureKind::Reported, ": Overloaded"),
    ),
    (
        "RunPod",
        "its queue wraps the completion",
        &[
            r#"plain{"status":"COMPLETED","output":{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}]}}"#,
        ],
        Text("a", "", Some("stop")),
    ),
    (
        "SiliconFlow",
        "an error has a code and a message, without choices",
        &[r#"{"code":50505,"message":"Model service overloaded.","data":null}"#],
        Fails(FailureKind::Reported, ": Model service overloaded."),
    ),
    (
        "TGI",
        "an error in the stream is a text with a type",
        &[r#"{"error":"Request failed during generation","error_type":"generation"}"#],
        Fails(FailureKind::Reported, ": Request failed during generation"),
    ),
    (
        "TGI",
        "`eos_token` is a finish reason, and a stream may end without [DONE]",
        &[r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"eos_token"}]}"#],
        Text("a", "", Some("eos_token")),
    ),
    (
        "Perplexity",
        "each chunk repeats the whole text in `message`",
        &[
            r#"{"choices":[{"index":0,"message":{"content":"a"},"delta":{"content":"a"}}]}"#,
            r#"{"choices":[{"index":0,"message":{"content":"ab"},"delta":{"content":"b"},"finish_reason":"stop"}]}"#,
        ],
        Text("ab", "", Some("stop")),
    ),
    (
        "Moonshot",
        "counts are in the choice",
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
        &[r#"{"choices":null,"base_resp":{"status_code":1008,"status_msg":"insufficient balance"}}"#],
        Fails(FailureKind::Reported, ": insufficient balance"),
    ),
    (
        "MiniMax",
        "the last chunk has the whole text in `message`",
        &[
            r#"{"choices":[{"index":0,"delta":{"content":"a"}}],"base_resp":{"status_code":0,"status_msg":""}}"#,
            r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"a"},"finish_reason":"stop"}]}"#,
        ],
        Text("a", "", Some("stop")),
    ),
    (
        "Zhipu",
        "a broken connection behind it is a finish reason",
        &[r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"network_error"}]}"#, END],
        Fails(FailureKind::Reported, ": network_error"),
    ),
    (
        "DashScope",
        "chunks of an empty finish reason, and counts with details",
        &[
            r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":""}],"usage":null}"#,
            STOP,
            r#"{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":4,"completion_tokens_details":{"reasoning_tokens":2},"prompt_tokens_details":{"cached_tokens":0}}}"#,
            END,
        ],
        Tokens("a", [5, 4, 2, 0]),
    ),
    (
        "Fireworks",
        "reasoning is between tags in the text",
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
        &[
            r#"{"choices":[{"index":0,"delta":{"content":"a"}}]}"#,
            r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":8,"completion_tokens":1},"time_info":{"queue_time":0.1}}"#,
        ],
        Tokens("a", [8, 1, -1, -1]),
    ),
    (
        "watsonx",
        "chunks say that they are not finished",
        &[
            r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"not_finished"}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"b"},"finish_reason":"time_limit"}]}"#,
        ],
        Fails(FailureKind::Reported, ": time_limit"),
    ),
    (
        "Hugging Face router",
        "a plain error is a text",
        &[r#"plain{"error":"Model too busy, unable to get response in less than 120 second(s)"}"#],
        Fails(FailureKind::Reported, "120 second(s)"),
    ),
    (
        "Cloudflare AI gateway",
        "an error is in a list beside `success: false`",
        &[r#"plain{"success":false,"result":null,"errors":[{"code":7009,"message":"Upstream service unavailable"}]}"#],
        Fails(FailureKind::Reported, ": Upstream service unavailable"),
    ),
    (
        "AWS load balancers",
        "a bare message",
        &[r#"plain{"message":"Service Unavailable"}"#],
        Fails(FailureKind::Reported, ": Service Unavailable"),
    ),
    (
        "FastAPI servers",
        "an error is a detail",
        &[r#"plain{"detail":"Not enough memory"}"#],
        Fails(FailureKind::Reported, ": Not enough memory"),
    ),
];

#[test]
fn providers_are_read_by_their_shapes() {
    for (provider, fact, events, expected) in ROWS {
        let body = match events[0].strip_prefix("plain") {
            Some(first) => std::iter::once(first)
                .chain(events[1..].iter().copied())
                .fold(String::new(), |body, line| body + line + "\n"),
            None => events.iter().fold(String::new(), |body, data| body + "data: " + data + "\n\n"),
        };
        for size in [3, body.len()] {
            let (pieces, end) = read_all(body.as_bytes().chunks(size), true);
            let name = format!("{provider}: {fact}: {end:?}");
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
