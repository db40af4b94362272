"""Tokenizer, chat template and untrained model of the embedded policy.

Invariant: a word or a digit has the same tokens wherever it stands (after a space, in JSON quotes, at the start of a
line), because letters, digits and everything between them never share a token. Copying is then one rule, which a
model of this size can learn.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MARKS = [
    "<think>",
    "</think>",
    "<tools>",
    "</tools>",
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
]
PHRASES = [
    # mcqa and math
    "Put the letter in \\boxed{}.",
    "Put the answer in \\boxed{}.",
    "The answer is \\boxed{",
    ". \\boxed{",
    "What is ",
    "Which number is the ",
    "Which number is ",
    "Which word begins with ",
    "Who has ",
    "It is ",
    ", best ",
    " has ",
    # structured_outputs
    "\nAnswer in JSON only, by this schema:\n",
    '{"type":"object","properties":{"',
    '":{"type":"string"}',
    '":{"type":"integer"}',
    '":{"type":"number"}',
    '":{"type":"boolean"}',
    '":{"enum":["red","green","blue","black","white"],"type":"string"}',
    "The fields are ",
    # workplace
    "@office.example",
    "find_person",
    "search_events",
    "create_event",
    "update_event",
    "delete_event",
    "send_email",
    '{"name": "',
    '", "arguments": {"',
    "I first need ",
    ". I then need ",
    "That did not help. ",
    "That was all.",
    '[{"id":"',
    '","name":"',
    '","email":"',
    '","team":"',
    '","role":"',
    '{"found":',
    ',"page":1,"records":',
    '","title":"',
    '","person":"',
    '","start":"',
    '","minutes":',
]
"""What the easy levels say over and over: one token each, which makes dialogues shorter by a third or more."""
MAX_LEN = 4096
SHARPNESS = 2.0
"""First gain of the query and key norms. Above 1, so that attention can settle on one token early."""
EMBEDDING, COMMON = 0.5, 3.0
"""First size of an embedding's entries, and its first entry, which all tokens have in common (see :func:`_prepare`)."""
THETA = 10_000.0

CHAT_TEMPLATE = """\
{%- macro text(content) -%}
  {%- if content is string -%}{{ content }}
  {%- elif content -%}{%- for part in content -%}{{ part.text }}{%- endfor -%}
  {%- endif -%}
{%- endmacro -%}
{%- if tools or (messages and messages[0].role == 'system') -%}
  {{- '<|im_start|>system\\n' -}}
  {%- if messages and messages[0].role == 'system' -%}{{- text(messages[0].content) -}}{%- endif -%}
  {%- if tools -%}
    {{- '\\n<tools>' -}}
    {%- for tool in tools -%}{{- '\\n' + (tool.function | tojson) -}}{%- endfor -%}
    {{- '\\n</tools>' -}}
  {%- endif -%}
  {{- '<|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages -%}
  {%- if message.role == 'assistant' -%}
    {{- '<|im_start|>assistant\\n' -}}
    {%- if message.reasoning_content -%}{{- '<think>' + message.reasoning_content + '</think>' -}}{%- endif -%}
    {{- text(message.content) -}}
    {%- for call in message.tool_calls or [] -%}
      {%- set arguments = call.function.arguments -%}
      {{- '<tool_call>{"name": ' + (call.function.name | tojson) + ', "arguments": ' -}}
      {{- arguments if arguments is string else (arguments | tojson) -}}
      {{- '}</tool_call>' -}}
    {%- endfor -%}
    {{- '<|im_end|>\\n' -}}
  {%- elif message.role == 'tool' -%}
    {%- if loop.first or loop.previtem.role != 'tool' -%}{{- '<|im_start|>user\\n' -}}{%- endif -%}
    {{- '<tool_response>' + text(message.content) + '</tool_response>' -}}
    {%- if loop.last or loop.nextitem.role != 'tool' -%}{{- '<|im_end|>\\n' -}}{%- endif -%}
  {%- elif not (loop.first and message.role == 'system') -%}
    {{- '<|im_start|>' + message.role + '\\n' + text(message.content) + '<|im_end|>\\n' -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{- '<|im_start|>assistant\\n' -}}
  {%- if enable_thinking is defined and not enable_thinking -%}{{- '<think></think>' -}}{%- endif -%}
{%- endif -%}
"""


def build_tokenizer(corpus: list[str], size: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE over single digits, runs of letters, and runs of anything else."""
    pattern = Regex(r"\p{N}|\p{L}+|[^\p{L}\p{N}]+")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(pattern, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=SPECIAL + MARKS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    # After training, which would give their ids away.
    tokenizer.add_tokens([AddedToken(phrase, normalized=False) for phrase in PHRASES])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE,
        model_max_length=MAX_LEN,
        clean_up_tokenization_spaces=False,
    )


def build_model(tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    """Qwen3 of about 1.1 million parameters, untrained but prepared for copying."""
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=MAX_LEN,
        rope_parameters={"rope_type": "default", "rope_theta": THETA},
        tie_word_embeddings=False,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        dtype="bfloat16",
    )
    model = Qwen3ForCausalLM(config).float()
    model.set_attn_implementation("eager")  # on a CPU, at these lengths, faster than the fused kernel
    _prepare(model)
    return model


@torch.no_grad()
def _prepare(model: Qwen3ForCausalLM, waves: int = 5) -> None:
    """First weights with which copying is learnt in 150 steps rather than thousands.

    Copying "A B ... A" -> "B" takes a head that looks one token back. In Qwen3, whose projections have no bias, a head
    can be about positions only through an entry that all embeddings share, so they get one. Half of the first layer's
    heads begin by looking one token back with it: their query is a constant ``a`` and their key is ``a`` turned one
    position on, in the ``waves`` fastest pairs of the rotary embedding, so that a step of one back undoes the turn.
    """
    embedding, head = model.model.embed_tokens.weight, model.lm_head.weight
    embedding.normal_(0.0, EMBEDDING)
    # The same directions on the way out: what is copied is what is said.
    head.copy_(embedding * (0.02 / EMBEDDING))
    embedding[:, 0], head[:, 0] = COMMON, 0.0
    for layer in model.model.layers:
        layer.self_attn.q_norm.weight.fill_(SHARPNESS)
        layer.self_attn.k_norm.weight.fill_(SHARPNESS)
    attention, size = model.model.layers[0].self_attn, model.config.head_dim
    query, key = attention.q_proj.weight, attention.k_proj.weight
    turn = THETA ** (-torch.arange(waves) * 2 / size)
    query[: 2 * size], key[:size] = 0.0, 0.0
    for start in (0, size):
        query[start : start + waves, 0] = 1.0
    key[:waves, 0], key[size // 2 : size // 2 + waves, 0] = turn.cos(), turn.sin()


def save(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """bf16 safetensors, tokenizer and template in ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(out)
    tokenizer.save_pretrained(out)
    stop = [tokenizer.eos_token_id, tokenizer.pad_token_id]
    (out / "generation_config.json").write_text(json.dumps({"eos_token_id": stop}) + "\n")
    # The name under which every transformers release since 4.0 finds the class.
    settings = json.loads((out / "tokenizer_config.json").read_text())
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    (out / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    (out / "model.safetensors").chmod(0o644)
