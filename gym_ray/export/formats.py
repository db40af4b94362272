"""The formats: for each, which samples of a group it takes and what a sample becomes.

All of it pure functions, one example a plain JSON object. Two rules hold for every format: no column is called
``task_name`` (NeMo-RL's loaders add their own and refuse the file), and what would be changed on the way is refused
(:class:`~gym_ray.export.conversation.Unfit`) and counted, never written changed.

Sources: NeMo-RL's data loaders (nemo_rl/data/datasets), TRL's "Dataset formats", VeRL's rl_dataset and
multiturn_sft_dataset.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from gym_ray.export.atif import atif
from gym_ray.export.conversation import Json, Unfit, as_text, conversation, messages_of, where_they_part
from gym_ray.export.schemas import SFT, TOKEN_ARRAYS, VERL_RL, VERL_SFT
from gym_ray.export.select import Pair, ranked_pairs, split_of
from gym_ray.export.settings import ExportSettings
from gym_ray.runs.rollouts import Group, StoredRollout
from gym_ray.types.items import input_items


@dataclass(frozen=True, slots=True)
class Format:
    """``samples``: what of a group becomes examples. ``make``: one sample's examples; raises Unfit.

    ``identity``: the columns that make two examples the same. ``schema``: of Parquet; None: JSON lines.
    ``tasks``, ``tokens``: whether it needs the planned task rows, the token arrays.
    """

    about: str
    samples: Callable[[Group, ExportSettings], Iterable[Any]]
    make: Callable[[Any, ExportSettings], list[Json]]
    identity: tuple[str, ...]
    schema: pa.Schema | None = None
    tasks: bool = False
    tokens: bool = False

    @property
    def suffix(self) -> str:
        """Of its files."""
        return "jsonl" if self.schema is None else "parquet"


def _task(group: Group, settings: ExportSettings) -> list[Group]:
    return [group]


def _each(group: Group, settings: ExportSettings) -> list[StoredRollout]:
    return group.rollouts


def nemo_rl_prompt(group: Group, settings: ExportSettings) -> list[Json]:
    """The planned task row, without bookkeeping, with an ``agent_ref``."""
    assert group.row is not None
    row = {key: value for key, value in group.row.items() if not key.startswith("_ng_")}
    row.setdefault("agent_ref", {"type": "responses_api_agents", "name": group.environment})
    return [row]


def openai_sft(rollout: StoredRollout, settings: ExportSettings) -> list[Json]:
    """``messages`` and, when there are any, ``tools``."""
    said = conversation(rollout, settings)
    return [{"messages": said.messages, **({"tools": said.tools} if said.tools else {})}]


def sft(rollout: StoredRollout, settings: ExportSettings) -> list[Json]:
    """``messages`` with arguments as JSON text, ``tools`` as JSON."""
    said = conversation(rollout, settings)
    return [{"messages": [_typed(message) for message in said.messages], "tools": as_text(said.tools)}]


def _typed(message: Json) -> Json:
    """A message of text alone."""
    if not isinstance(message["content"], str | None):
        raise Unfit("content in parts (images, files, refusals)")
    if "tool_calls" not in message:
        return message  # null in the table: templates that ask for calls take an empty list for some
    calls = [
        {**call, "function": {**call["function"], "arguments": as_text(call["function"]["arguments"])}}
        for call in message["tool_calls"]
    ]
    return {**message, "tool_calls": calls}


def trl_sft(rollout: StoredRollout, settings: ExportSettings) -> list[Json]:
    """As ``openai_sft``, ``tools`` as JSON text: the loader unites objects of a column, and so changes schemas."""
    return [_with_tool_text(example) for example in openai_sft(rollout, settings)]


def trl_prompt_completion(rollout: StoredRollout, settings: ExportSettings) -> list[Json]:
    """``prompt``: what the rollout began with. ``completion``: all that followed."""
    said = conversation(rollout, settings)
    parts = {"prompt": said.messages[: said.begin], "completion": said.messages[said.begin :]}
    return [_with_tool_text({**parts, "tools": said.tools})]


def _with_tool_text(example: Json) -> Json:
    tools = example.pop("tools", None)
    return {**example, "tools": as_text(tools)} if tools else example


def _parted(pair: Pair, settings: ExportSettings) -> tuple[list[Json], list[Json], list[Json], list[Json]]:
    """Shared messages, what the chosen rollout said then, what the rejected one said, tools."""
    chosen, rejected = (conversation(rollout, settings) for rollout in pair)
    at = where_they_part(chosen, rejected)
    return chosen.messages[:at], chosen.messages[at:], rejected.messages[at:], chosen.tools


def preference(pair: Pair, settings: ExportSettings) -> list[Json]:
    """``context`` (all that the two share) and two ranked ``completions``."""
    shared, chosen, rejected, _ = _parted(pair, settings)
    ranked = [{"rank": rank, "completion": said} for rank, said in enumerate((chosen, rejected))]
    return [{"context": shared, "completions": ranked, **_rewards(pair)}]


def binary_preference(pair: Pair, settings: ExportSettings) -> list[Json]:
    """``prompt`` (messages), ``chosen`` and ``rejected`` (texts)."""
    shared, *ends, _ = _parted(pair, settings)
    texts = [said[0]["content"] for said in ends if len(said) == 1 and "tool_calls" not in said[0]]
    if len(texts) < 2 or not all(isinstance(text, str) for text in texts):
        raise Unfit("more than one text after the two part: a job for `preference`")
    return [{"prompt": shared, "chosen": texts[0], "rejected": texts[1], **_rewards(pair)}]


def trl_preference(pair: Pair, settings: ExportSettings) -> list[Json]:
    """``prompt`` (all that the two share), ``chosen`` and ``rejected``, each messages."""
    shared, chosen, rejected, tools = _parted(pair, settings)
    return [_with_tool_text({"prompt": shared, "chosen": chosen, "rejected": rejected, "tools": tools})]


def _rewards(pair: Pair) -> Json:
    return {"chosen_reward": pair.chosen.reward, "rejected_reward": pair.rejected.reward}


def verl_rl(group: Group, settings: ExportSettings) -> list[Json]:
    """One task for VeRL's RLHFDataset; ``extra_info.task`` is the whole row as JSON."""
    row = group.row
    assert row is not None
    prompt = [_plain(message) for message in messages_of(input_items(row["responses_create_params"]), settings)]
    truth = row.get(settings.ground_truth)
    info = {
        "index": group.task_number,
        "split": split_of(group.task_id, settings),
        "task_id": group.task_id,
        "task": as_text(row),
    }
    return [
        {
            "data_source": group.environment,
            "prompt": prompt,
            "ability": group.environment,
            "reward_model": {"style": "rule", "ground_truth": "" if truth is None else as_text(truth)},
            "extra_info": info,
        }
    ]


def verl_sft(rollout: StoredRollout, settings: ExportSettings) -> list[Json]:
    """``messages`` of role and text. Tools are refused: pandas would fill each schema with the others' keys."""
    said = conversation(rollout, settings)
    if said.tools:
        raise Unfit("tools: VeRL reads them through pandas, which changes their schemas")
    return [{"messages": [_plain(message) for message in said.messages]}]


def _plain(message: Json) -> Json:
    """Role and text, nothing else."""
    if not isinstance(message["content"], str) or message.keys() - {"role", "content"}:
        raise Unfit("messages of more than role and text")
    return message


def token_arrays(rollout: StoredRollout, settings: ExportSettings) -> list[Json]:
    """One example per contiguous segment that has sampled tokens."""
    segments = [(number, one) for number, one in enumerate(rollout.segments) if any(one.loss_mask)]
    if not segments:
        raise Unfit("no token ids: the endpoint gave none")
    facts = {
        "task_id": rollout.task_id,
        "task_number": rollout.task_number,
        "rollout_index": rollout.index,
        "environment": rollout.environment,
        "outcome": str(rollout.outcome),
        "reward": rollout.reward,
    }
    return [
        {
            **facts,
            "segment": number,
            "token_ids": one.token_ids,
            "loss_mask": one.loss_mask,
            "logprobs": one.logprobs,
            "policy_version": one.versions,
        }
        for number, one in segments
    ]


_PAIR = ("prompt", "chosen", "rejected")
FORMATS = {
    "nemo_rl_prompts": Format(
        "NeMo-RL GRPO (NemoGymDataset): task rows in training order",
        *(_task, nemo_rl_prompt, ("responses_create_params",)),
        tasks=True,
    ),
    "openai_sft": Format("NeMo-RL SFT (openai_format), OpenAI: messages and tools", _each, openai_sft, ("messages",)),
    "sft": Format("SFT in Parquet: messages, tools as JSON", _each, sft, ("messages",), SFT),
    "preference": Format(
        "NeMo-RL DPO and reward models (PreferenceDataset): two ranked completions",
        *(ranked_pairs, preference, ("context", "completions")),
    ),
    "binary_preference": Format(
        "NeMo-RL DPO (BinaryPreferenceDataset): two texts", ranked_pairs, binary_preference, _PAIR
    ),
    "trl_sft": Format("TRL and Unsloth SFTTrainer: conversational", _each, trl_sft, ("messages",)),
    "trl_prompt_completion": Format(
        "TRL SFTTrainer, loss on the completion", _each, trl_prompt_completion, ("prompt", "completion")
    ),
    "trl_preference": Format("TRL DPOTrainer, RewardTrainer: chosen and rejected", ranked_pairs, trl_preference, _PAIR),
    "verl_rl": Format("VeRL RL (RLHFDataset): tasks", _task, verl_rl, ("prompt",), VERL_RL, tasks=True),
    "verl_sft": Format("VeRL SFT (MultiTurnSFTDataset): messages", _each, verl_sft, ("messages",), VERL_SFT),
    "token_arrays": Format(
        "any trainer: token ids, loss mask, logprobs per segment",
        *(_each, token_arrays, ("token_ids",), TOKEN_ARRAYS),
        tokens=True,
    ),
    "atif": Format("Agent Trajectory Interchange Format 1.7, a document per line", _each, atif, ("steps",)),
}
"""By the name after ``--to``."""
