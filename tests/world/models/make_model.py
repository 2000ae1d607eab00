"""Writes a tiny model with random weights, for llama.cpp. Its tokens are bytes, and it writes letters.

Its chat template accepts one system text at the beginning and then user and assistant in turns.
"""

import sys

import numpy
from gguf import GGUFWriter, TokenType

WIDTH, HEADS, HIDDEN, CONTEXT = 32, 2, 64, 256
TEMPLATE = """
{%- set turns = namespace(count=0) -%}
{%- for message in messages -%}
  {%- if message['role'] == 'system' -%}
    {%- if not loop.first -%}{{ raise_exception('the system text is not the first') }}{%- endif -%}
  {%- else -%}
    {%- if (message['role'] == 'user') != (turns.count % 2 == 0) -%}
      {{ raise_exception('user and assistant do not alternate') }}
    {%- endif -%}
    {%- set turns.count = turns.count + 1 -%}
  {%- endif -%}
  {{- message['content'] + '\\n' -}}
{%- endfor -%}
"""

random = numpy.random.default_rng(7)


def weights(rows, columns, scale=0.1):
    return (random.standard_normal((rows, columns)) * scale).astype(numpy.float32)


tokens = [b"<unk>", b"<s>", b"</s>"] + [b"<0x%02X>" % byte for byte in range(256)]
kinds = [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL] + [TokenType.BYTE] * 256

model = GGUFWriter(sys.argv[1], "llama")
model.add_context_length(CONTEXT)
model.add_embedding_length(WIDTH)
model.add_block_count(1)
model.add_feed_forward_length(HIDDEN)
model.add_head_count(HEADS)
model.add_head_count_kv(HEADS)
model.add_rope_dimension_count(WIDTH // HEADS)
model.add_layer_norm_rms_eps(1e-5)
model.add_vocab_size(len(tokens))
model.add_tokenizer_model("llama")
model.add_tokenizer_pre("default")
model.add_token_list(tokens)
model.add_token_scores([0.0] * len(tokens))
model.add_token_types([int(kind) for kind in kinds])
model.add_unk_token_id(0)
model.add_bos_token_id(1)
model.add_eos_token_id(2)
model.add_add_bos_token(True)
model.add_add_space_prefix(False)
model.add_chat_template(TEMPLATE)

output = numpy.zeros((len(tokens), WIDTH), numpy.float32)
for letter in b"abcdefghijklmnopqrstuvwxyz":
    output[tokens.index(b"<0x%02X>" % letter)] = random.standard_normal(WIDTH)
ones = numpy.ones(WIDTH, numpy.float32)
model.add_tensor("token_embd.weight", weights(len(tokens), WIDTH, 1.0))
model.add_tensor("output_norm.weight", ones)
model.add_tensor("output.weight", output)
model.add_tensor("blk.0.attn_norm.weight", ones)
model.add_tensor("blk.0.ffn_norm.weight", ones)
for name in ["attn_q", "attn_k", "attn_v", "attn_output"]:
    model.add_tensor(f"blk.0.{name}.weight", weights(WIDTH, WIDTH))
for name in ["ffn_gate", "ffn_up"]:
    model.add_tensor(f"blk.0.{name}.weight", weights(HIDDEN, WIDTH))
model.add_tensor("blk.0.ffn_down.weight", weights(WIDTH, HIDDEN))

model.write_header_to_file()
model.write_kv_data_to_file()
model.write_tensors_to_file()
model.close()
