"""Train the embedded policy ``tiny`` from nothing: tokenizer, chat template, weights.

    python scripts/train_tiny.py [--rows N] [--epochs N] [--threads N] [--out DIR]

A Qwen3-architecture model small enough to travel with the package, trained to imitate scripted experts that
solve procedurally generated tasks of four environments. The same arguments give the same data in the same
order. ``--epochs 0`` saves random weights, for whoever needs the shapes only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from gym_ray.environments.catalog import generator, solver
from gym_ray.environments.math import Math
from gym_ray.environments.mcqa import Mcqa
from gym_ray.environments.structured_outputs import StructuredOutputs
from gym_ray.environments.workplace import Workplace
from gym_ray.environments.workplace.generate import EASY_TOOLSET
from gym_ray.models.chat import chat_params
from gym_ray.models.serve.messages import template_messages
from gym_ray.resources.server import ResourcesServer
from gym_ray.resources.toolbox import Toolbox
from gym_ray.types.items import Item, function_call_output, function_calls, input_items, item_text, reasoning

WEIGHTS = Path(__file__).parent.parent / "gym_ray" / "models" / "tiny" / "weights"
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
ASSISTANT, END = "<|im_start|>assistant\n", "<|im_end|>"
MAX_LEN = 4096
SEED = 20260302
UNTHINKING = 0.15
"""Share of dialogues without reasoning, so that the policy also answers with ``enable_thinking=false``."""
BATCH_TOKENS = 2048
READING = 0.1
"""Weight of a token that the assistant reads, where one that it says has 1."""
PADDING = 0

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
    """Byte-level BPE: digits one by one, words with their leading space, the rest as it comes."""
    pattern = Regex(r"\p{N}| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+")
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
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE,
        model_max_length=MAX_LEN,
        clean_up_tokenization_spaces=False,
    )


def build_model(tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    """Qwen3 with tied embeddings; about 2 million parameters."""
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=MAX_LEN,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        dtype="bfloat16",
    )
    return Qwen3ForCausalLM(config)


@dataclass(frozen=True)
class Course:
    """One environment to learn: its name, its server, and its share of the rows."""

    name: str
    server: ResourcesServer
    share: float


def courses() -> list[Course]:
    """What is taught."""
    return [
        Course("mcqa", Mcqa(), 0.35),
        Course("math", Math(), 0.2),
        Course("structured_outputs", StructuredOutputs(), 0.3),
        Course("workplace", Workplace(toolset=EASY_TOOLSET), 0.15),
    ]


async def dialogues(course: Course, rows: int) -> list[str]:
    """Rendered conversations in which the expert solves the task, tools executed."""
    toolbox = Toolbox(course.server, 10.0)
    rng = random.Random(f"{SEED}/{course.name}")
    template = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), chat_template=CHAT_TEMPLATE)
    texts = []
    for row in generator(course.name)(rows, SEED):
        session = await course.server.seed(course.server.Task.model_validate(row))
        items, thinking = input_items(row["responses_create_params"]), rng.random() >= UNTHINKING
        for number, turn in enumerate(solver(course.name)(row)):
            items += [reasoning(thought(course.name, row, number, turn))] * thinking + turn
            for call in function_calls(turn):
                output = await toolbox.call(session, call["name"], json.loads(call["arguments"]))
                items.append(function_call_output(call["call_id"], output))
        tools = chat_params({"tools": toolbox.definitions}).get("tools")
        text = template.apply_chat_template(template_messages(items), tools=tools, tokenize=False)
        texts.append(text if thinking else text.replace(ASSISTANT, ASSISTANT + "<think></think>"))
    return texts


def thought(environment: str, row: dict[str, Any], number: int, turn: list[Item]) -> str:
    """What the expert thinks before ``turn``: enough to make the answer a small step."""
    if environment == "math":
        return worked(row["question"])
    if environment == "mcqa":
        return f"It must be {item_text(turn[0]).removeprefix('It is ').partition('. ')[0]}."
    if environment == "structured_outputs":
        return "The fields are " + ", ".join(row["expected_object"]) + "."
    names = " and ".join(dict.fromkeys(call["name"] for call in function_calls(turn)))
    return f"I {'then' if number else 'first'} need {names}." if names else "That was all."


def worked(question: str) -> str:
    """Arithmetic in steps that need no carrying in the head: tens, ones, then both."""
    left, sign, right = question.removeprefix("What is ").removesuffix("?").split()
    a, b = int(left), int(right)
    if sign == "*":
        return f"{a} * {b} = {a * b}."
    ones, tens = b % 10, b - b % 10
    first = a + tens if sign == "+" else a - tens
    last = first + ones if sign == "+" else first - ones
    return f"{a} {sign} {tens} = {first}. {first} {sign} {ones} = {last}."


Example = tuple[list[int], list[int]]
"""Token ids, and 1 where the model is to learn them."""


def encode(text: str, tokenizer: PreTrainedTokenizerFast) -> Example:
    """A dialogue's ids; only what the assistant says, its end marks included, is learnt."""
    ids: list[int] = []
    learnt: list[int] = []
    head, *turns = text.split(ASSISTANT)
    ids += tokenizer.encode(head, add_special_tokens=False)
    learnt += [0] * len(ids)
    for turn in turns:
        said, _, after = turn.partition(END)
        for part, counts in ((ASSISTANT, 0), (said + END, 1), (after, 0)):
            fresh = tokenizer.encode(part, add_special_tokens=False)
            ids += fresh
            learnt += [counts] * len(fresh)
    return ids, learnt


def batches(examples: list[Example], rng: random.Random) -> Iterator[list[Example]]:
    """Examples of similar length together, at most ``BATCH_TOKENS`` each after padding, in random order."""
    order = sorted(examples, key=lambda example: (len(example[0]), rng.random()))
    groups: list[list[Example]] = [[]]
    for example in order:
        if len(example[0]) * (len(groups[-1]) + 1) > BATCH_TOKENS:
            groups.append([])
        groups[-1].append(example)
    rng.shuffle(groups)
    yield from groups


def loss_of(model: Qwen3ForCausalLM, batch: list[Example]) -> torch.Tensor:
    """Cross entropy of what the assistant says, and a little of what it reads: repeated names teach copying.

    Padding is on the right, where causal attention never looks.
    """
    width = max(len(ids) for ids, _ in batch)
    ids = torch.tensor([one + [PADDING] * (width - len(one)) for one, _ in batch])
    learnt = torch.tensor([one + [0] * (width - len(one)) for _, one in batch])[:, 1:]
    weights = torch.where(learnt == 1, 1.0, READING)[ids[:, 1:] != PADDING]
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model.model(ids).last_hidden_state[:, :-1][ids[:, 1:] != PADDING]
        logits = model.lm_head(hidden)
    target = ids[:, 1:][ids[:, 1:] != PADDING]
    losses = torch.nn.functional.cross_entropy(logits.float(), target, reduction="none")
    return (losses * weights).sum() / weights.sum()


def train(model: Qwen3ForCausalLM, examples: list[Example], epochs: int, peak: float = 2e-3) -> None:
    """AdamW, one cycle: a short rise, then a cosine to nothing."""
    rng = random.Random(SEED)
    plan = [batch for _ in range(epochs) for batch in batches(examples, rng)]
    decay = [weight for weight in model.parameters() if weight.dim() > 1]
    plain = [weight for weight in model.parameters() if weight.dim() <= 1]
    groups = [{"params": decay, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=peak, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, total_steps=len(plan), pct_start=0.05)
    began, recent = time.monotonic(), []
    for step, batch in enumerate(plan, 1):
        loss = loss_of(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        recent = [*recent[-99:], loss.item()]
        if step % 100 == 0 or step == len(plan):
            mean = sum(recent) / len(recent)
            print(f"step {step}/{len(plan)}  loss {mean:.4f}  {time.monotonic() - began:.0f} s", flush=True)


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


def main() -> None:
    """Build, train, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--rows", type=int, default=40_000, help="dialogues in all")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--vocabulary", type=int, default=2048)
    arguments = parser.parse_args()
    torch.manual_seed(SEED)
    torch.set_num_threads(arguments.threads)
    texts = [
        text for course in courses() for text in asyncio.run(dialogues(course, int(course.share * arguments.rows)))
    ]
    tokenizer = build_tokenizer(texts, arguments.vocabulary)
    model = build_model(tokenizer)
    examples = [encode(text, tokenizer) for text in texts]
    learnt = sum(sum(one) for _, one in examples)
    total = sum(len(ids) for ids, _ in examples)
    print(
        f"{len(examples)} dialogues, {total} tokens, {learnt} learnt; {model.num_parameters()} parameters", flush=True
    )
    if arguments.epochs:
        train(model, examples, arguments.epochs)
    save(model, tokenizer, arguments.out)


if __name__ == "__main__":
    main()
