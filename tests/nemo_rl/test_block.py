"""``env.nemo_gym`` blocks as NeMo-RL's recipes have them, and what becomes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from gym_ray.integrations.nemo_rl.block import HOSTED, BlockPlan, plan_block
from gym_ray.types.errors import UserError

Json = dict[str, Any]
URLS = ["http://10.0.0.1:3000/v1", "http://10.0.0.2:3000/v1"]
POLICY = "responses_api_models/vllm_model/configs/vllm_model_for_training.yaml"
NANO: Json = yaml.safe_load("""
port_range_low: 5000
config_paths:
- responses_api_models/vllm_model/configs/vllm_model_for_training.yaml
- resources_servers/math_with_judge/configs/math_with_judge.yaml
- resources_servers/code_gen/configs/code_gen.yaml
- resources_servers/mcqa/configs/mcqa.yaml
- resources_servers/structured_outputs/configs/structured_outputs_json.yaml
math_with_judge:
  resources_servers:
    math_with_judge:
      judge_model_server: {name: policy_model}
      should_use_judge: false
code_gen:
  resources_servers:
    code_gen: {num_processes: 1024, unit_test_timeout_secs: 7, debug: false}
""")


def plan(block: Json, **ours: Any) -> BlockPlan:
    return plan_block(
        {**block, "gym_ray": ours}, "policy", ["http://10.0.0.1:3000/v1", "http://10.0.0.2:3000/v1"], "run"
    )


def checkout(root: Path, **files: Json) -> str:
    """A NeMo Gym tree with servers ``name`` of the given YAML."""
    for name, content in files.items():
        file = root / "resources_servers" / name / "configs" / f"{name}.yaml"
        file.parent.mkdir(parents=True)
        file.write_text(yaml.safe_dump(content))
    return str(root)


def instance(server: str, agent: str, **settings: Any) -> Json:
    return {
        server: {"resources_servers": {server: {"entrypoint": "app.py", **settings}}},
        agent: {"responses_api_agents": {"simple_agent": {"resources_server": {"name": server}, "max_steps": 6}}},
    }


def test_a_recipe_whose_servers_are_ours_needs_no_nemo_gym() -> None:
    made = plan(NANO)
    assert made.environments["mcqa_simple_agent"] == "mcqa"
    assert made.environments["code_gen_simple_agent"] == "code_gen"
    assert made.environments["structured_outputs_simple_agent"] == "structured_outputs_json"
    envs = made.config.envs
    assert envs["structured_outputs_json"].server == "gym_ray.environments.structured_outputs:StructuredOutputs"
    assert envs["math_with_judge"].server == "gym_ray.environments.math:Math"
    assert envs["code_gen"].options["unit_test_timeout_secs"] == 7
    assert "num_processes" not in envs["code_gen"].options


def test_the_policy_is_the_trainers_and_each_rollout_sticks_to_an_address() -> None:
    template = {"chat_template_kwargs": {"enable_thinking": True}}
    policy = {"policy_model": {"responses_api_models": {"vllm_model": template}}}
    model = plan({**NANO, **policy}, model={"timeout_s": 90}).config.model
    assert model.base_url == URLS
    assert (model.token_ids, model.dialect, model.name, model.timeout_s) == ("nemo_rl", "chat", "policy", 90)
    assert model.extra_body == template
    assert model.sampling_overrides == {}


def test_a_server_of_its_own_is_hosted_with_what_the_block_says(tmp_path: Path) -> None:
    path = checkout(tmp_path, workplace_assistant=instance("workplace_assistant", "workplace_assistant_simple_agent"))
    block = {
        "config_paths": [POLICY, "resources_servers/workplace_assistant/configs/workplace_assistant.yaml"],
        "workplace_assistant": {"resources_servers": {"workplace_assistant": {"strict": True}}},
    }
    made = plan(block, path=path)
    environment = made.config.envs[made.environments["workplace_assistant_simple_agent"]]
    assert environment.server == HOSTED
    assert environment.options["server"] == "workplace_assistant"
    assert environment.options["overrides"] == block_of("workplace_assistant", strict=True)
    assert environment.agent == {"max_turns": 6}


def block_of(server: str, **settings: Any) -> Json:
    return {server: {"resources_servers": {server: settings}}}


def test_agents_that_ask_the_policy_another_way_are_environments_of_their_own() -> None:
    reference = {"resources_server": {"name": "mcqa"}, "model_server": {"name": "policy_model_reasoning_off"}}
    block = {
        "config_paths": ["resources_servers/mcqa/configs/mcqa.yaml"],
        "policy_model": {"responses_api_models": {"vllm_model": {"chat_template_kwargs": {"enable_thinking": True}}}},
        "policy_model_reasoning_off": {
            "_copy": "policy_model",
            "responses_api_models": {"vllm_model": {"chat_template_kwargs": {"enable_thinking": False}}},
        },
        "mcqa_agent_reasoning_off": {"responses_api_agents": {"simple_agent": reference}},
    }
    made = plan(block)
    on, off = made.environments["mcqa_simple_agent"], made.environments["mcqa_agent_reasoning_off"]
    assert on != off
    assert made.config.envs[off].sampling == {"chat_template_kwargs": {"enable_thinking": False}}
    assert made.config.envs[on].sampling == {}
    assert made.config.envs[on].server == made.config.envs[off].server


def test_judges_are_model_servers_of_the_block_or_named_by_ours() -> None:
    server = {"resources_servers": {"equivalence_llm_judge": {"judge_model_server": {"name": "big"}}}}
    block = {
        "config_paths": ["resources_servers/equivalence_llm_judge/configs/equivalence_llm_judge.yaml"],
        "equivalence_llm_judge": server,
    }
    with pytest.raises(UserError, match=r"env\.nemo_gym\.gym_ray\.judges\.big: the judge of `equivalence_llm_judge`"):
        plan(block)
    made = plan(block, judges={"big": {"name": "b", "base_url": "http://judge/v1"}})
    assert made.config.envs["equivalence_llm_judge"].judge == "big"
    model = {"responses_api_models": {"openai_model": {"base_url": "http://there/v1", "model": "q"}}}
    made = plan({**block, "big": model})
    assert made.config.judges["big"].base_url == "http://there/v1"


def test_a_group_verifier_is_told_its_size() -> None:
    block = {
        "config_paths": ["resources_servers/genrm_compare/configs/genrm_compare.yaml"],
        "genrm_compare_resources_server": {
            "resources_servers": {
                "genrm_compare": {
                    "genrm_model_server": {"name": "policy_model"},
                    "genrm_responses_create_params": {"input": [], "temperature": 0.6},
                    "num_rollouts_per_prompt": 16,
                    "comparison_strategy": "circular",
                    "reasoning_bonus": 0.5,
                }
            }
        },
        "genrm_simple_agent": {
            "responses_api_agents": {"simple_agent": {"resources_server": {"name": "genrm_compare"}}},
        },
    }
    made = plan(block)
    name = made.environments["genrm_simple_agent"]
    assert made.group_sizes[name] == 16
    options = made.config.envs[name].options
    assert options == {"judge_params": {"temperature": 0.6}, "comparison_strategy": "circular", "reasoning_bonus": 0.5}
    assert made.config.envs[name].judge == "policy"


@pytest.mark.parametrize(
    ("block", "ours", "said"),
    [
        ({"config_paths": [POLICY]}, {}, "names no resources server"),
        ({"config_paths": ["resources_servers/aviary/configs/x.yaml"]}, {}, "`aviary` is not here to be hosted"),
        ({**NANO, **block_of("mcqa", leniency=3)}, {}, "`leniency` is no option of gym_ray's `mcqa`"),
        (NANO, {"histori": "mask"}, r"env\.nemo_gym\.gym_ray\.histori"),
        (NANO, {"envs": {"nonesuch": {}}}, "no such environment"),
        ({**NANO, "mine": {"_copy": "theirs"}}, {}, "copies `theirs`"),
        (NANO, {"path": "/nonesuch"}, "no folder resources_servers"),
    ],
)
def test_what_cannot_be_served_is_said_in_a_line(block: Json, ours: Json, said: str, monkeypatch: Any) -> None:
    monkeypatch.setattr("gym_ray.integrations.nemo_rl.block.importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=said) as raised:
        plan(block, **ours)
    assert "\n" not in str(raised.value)


def test_an_agent_with_a_loop_of_its_own_is_not_replaced_by_ours(tmp_path: Path) -> None:
    proof = instance("math_formal_lean", "refiner")
    proof["refiner"]["responses_api_agents"] = {"refinement": proof["refiner"]["responses_api_agents"]["simple_agent"]}
    path = checkout(tmp_path, math_formal_lean=proof)
    paths = ["resources_servers/math_formal_lean/configs/math_formal_lean.yaml"]
    made = plan({"config_paths": [*NANO["config_paths"], *paths]}, path=path)
    assert "refiner" not in made.environments
    assert "a loop of its own" in made.unserved["refiner"]
    with pytest.raises(UserError, match="`refinement` is a loop of its own"):
        plan({"config_paths": paths}, path=path)


def test_environments_of_ours_can_be_added_and_changed() -> None:
    made = plan(NANO, envs={"mcqa": {"num_actors": 3}, "sokoban": {}, "mine": {"server": "tests/support/envs.py:Sum"}})
    assert made.config.envs["mcqa"].num_actors == 3
    assert made.environments["grl_sokoban_gymnasium_agent"] == "sokoban"
    assert made.environments["mine"] == "mine"
