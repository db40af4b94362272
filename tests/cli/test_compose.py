"""From words on the command line to settings: the grammar, and what each mistake says."""

from __future__ import annotations

from pathlib import Path

import pytest

from gym_ray.cli.arguments import env_name
from gym_ray.cli.compose import compose_settings
from gym_ray.collect.config import RunConfig
from gym_ray.types.errors import UserError

OWN = '''
from gym_ray import ResourcesServer

class QuizRoom(ResourcesServer):
    """A room."""
    async def verify(self, task, trajectory, session):
        return 1.0
'''


@pytest.fixture
def conf(tmp_path: Path) -> str:
    """A folder like conf/ with two environments and a model."""
    files = {
        "env/quiz.yaml": "server: some.module:Quiz\noptions: {level: 1}\n",
        "env/maze.yaml": "server: some.module:Maze\nnum_actors: 2\n",
        "model/mine.yaml": "defaults: [openai_like, _self_]\nname: mine\nsampling: {temperature: 0.5, top_p: 0.9}\n",
        "model/openai_like.yaml": "kind: openai\nbase_url: http://localhost/v1\n",
        "model/wrong.yaml": "kind: openai\nbase_ulr: x\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return str(tmp_path)


def compose(conf: str, *words: str) -> RunConfig:
    config, _ = compose_settings(["--config-dir", conf, "run_dir=r", *words], RunConfig)
    return config


def problems(conf: str, *words: str) -> list[str]:
    with pytest.raises(UserError) as caught:
        compose(conf, *words)
    return str(caught.value).splitlines()


def test_settings_that_nobody_sets_are_the_records_own(conf: str) -> None:
    config = compose(conf, "env=quiz", "model=mine")
    assert config.collect == RunConfig.model_fields["collect"].get_default(call_default_factory=True)
    assert config.envs["quiz"].num_actors == 1


def test_the_embedded_model_is_the_default(conf: str) -> None:
    config = compose(conf, "env=quiz")
    assert (config.model.kind, config.model.name) == ("vllm", "tiny")


@pytest.mark.parametrize("words", [("env=quiz,maze",), ("env=[quiz,maze]",), ("env=quiz", "env=maze")])
def test_several_environments(conf: str, words: tuple[str, ...]) -> None:
    config = compose(conf, *words)
    assert list(config.envs) == ["quiz", "maze"]
    assert (config.envs["quiz"].options, config.envs["maze"].num_actors) == ({"level": 1}, 2)


def test_a_setting_for_all_environments_and_one_for_one(conf: str) -> None:
    config = compose(conf, "env=quiz,maze", "env.num_actors=4", "envs.quiz.num_cpus=0.5", "env.options.extra=[1,2]")
    assert [env.num_actors for env in config.envs.values()] == [4, 4]
    assert [env.num_cpus for env in config.envs.values()] == [0.5, 0.1]
    assert config.envs["quiz"].options == {"level": 1, "extra": [1, 2]}


def test_ones_own_environment(tmp_path: Path, conf: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    named, alone = compose(conf, "env=own.py:QuizRoom").envs, compose(conf, "env=own.py").envs
    # Workers may run elsewhere: the path must not depend on the working directory.
    assert named["quiz_room"].server == alone["own"].server == f"{tmp_path}/own.py:QuizRoom"
    assert compose(conf, "env=gym_ray.environments.mcqa.server:Mcqa").envs["mcqa"].server.endswith("server:Mcqa")
    (tmp_path / "two.py").write_text(OWN + OWN.replace("QuizRoom", "Other"))
    assert "say which class" in problems(conf, "env=two.py")[0]


@pytest.mark.parametrize(
    ("choice", "name"), [("a/b.py:HTTPRoom2B", "httproom2_b"), ("x.y:InventoryRoom", "inventory_room"), ("a/b.py", "b")]
)
def test_names_of_ones_own_environments(choice: str, name: str) -> None:
    assert env_name(choice) == name


def test_a_chosen_file_and_its_own_defaults(conf: str) -> None:
    model = compose(conf, "env=quiz", "model=mine", "model.sampling.seed=7").model
    assert model.base_url == "http://localhost/v1"
    assert model.sampling == {"temperature": 0.5, "top_p": 0.9, "seed": 7}


@pytest.mark.parametrize(
    "text",
    [
        "a b.jsonl",
        "s3://bucket/x=1/{a,b}(1)[0-9]*.jsonl",
        "it's",
        'a "quoted" word',
        "back\\slash",
        "tail\\",
        "7",
        "true",
        "null,x",
        "http://host:1/v1?a=b&c=d",
        "ünïcode",
    ],
)
def test_texts_need_no_quotes(conf: str, text: str) -> None:
    config = compose(conf, "env=quiz", f"tasks={text}", f"model.name={text}", f"tasks.prompt={text}")
    assert (config.tasks.path, config.model.name, config.tasks.prompt) == (text, text, text)


def test_lists_need_no_brackets(conf: str) -> None:
    assert compose(conf, "env=quiz", "collect.formats=jsonl").collect.formats == ["jsonl"]
    assert compose(conf, "env=quiz", "collect.formats=jsonl,parquet").collect.formats == ["jsonl", "parquet"]
    assert compose(conf, "env=quiz", "tasks=[a.jsonl,b.jsonl]").tasks.path == ["a.jsonl", "b.jsonl"]


def test_hydra_grammar_still_holds(conf: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GYM_RAY_TEST_NAME", "from-env")
    config = compose(
        conf,
        "env=quiz",
        "model=mine",
        "model.retry={max_attempts:2}",
        "+model.sampling.stop=['x,y']",
        "~model.sampling.top_p",
        "model.name=${oc.env:GYM_RAY_TEST_NAME}",
        "tasks.limit=null",
    )
    assert (config.model.retry.max_attempts, config.model.retry.base_s) == (2, 0.5)
    assert config.model.sampling == {"temperature": 0.5, "stop": ["x,y"]}
    assert config.model.name == "from-env"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("collect.rollout_per_task=3", "`collect.rollout_per_task` is no setting; nearest: collect.rollouts_per_task"),
        ("rollouts_per_task=3", "`rollouts_per_task` is no setting; nearest: collect.rollouts_per_task"),
        ("modl.name=x", "`modl.name` is no setting; nearest: model.name"),
        ("env.num_actor=3", "`env.num_actor` is no setting; nearest: env.num_actors"),
        ("envs.quizz.num_actors=3", "`envs.quizz.num_actors` is no setting; nearest: envs.quiz.num_actors"),
        ("collect.in_flight.x=3", "`collect.in_flight.x` is no setting; nearest: collect.in_flight"),
        ("model.retry=3", "`model.retry` is no setting"),
        ("zzz=3", "`zzz` is no setting"),
        ("env=quis", "env=quis: no such environment; nearest: quiz (there are: "),
        ("model=min", "model=min: no such choice; nearest: mine (there are: "),
        ("collect=nothing", "collect=nothing: no such choice"),
        ("word", "`word` is no key=value"),
        ("--verbose", "`--verbose` is no key=value"),
        ("collect.in_flight=many", "collect.in_flight: input should be a valid integer"),
        ("collect.rollouts_per_task=0", "collect.rollouts_per_task: input should be greater than or equal to 1, got 0"),
        ("collect.in_flight=-1", "collect.in_flight: input should be greater than or equal to 1, got -1"),
        ("collect.max_failed_fraction=5", "collect.max_failed_fraction: input should be less than or equal to 1"),
        ("model.timeout_s=0", "model.timeout_s: input should be greater than 0, got 0"),
        ("envs.quiz.agent.max_turns=0", "envs.quiz.agent.max_turns: input should be greater than or equal to 1"),
        ("model.kind=remote", "model.kind: input should be 'openai' or 'vllm', got 'remote'"),
        ("agent.max_tokens=3,4", "`agent.max_tokens=3,4`: several values; write a list as [a,b]"),
        ("judge=nothing", "judge=nothing: no such choice (there are: "),
        ("judge.nam=x", "`judges.default.nam` is no setting; nearest: judges.default.name"),
        ("judges.strict=nothing", "judges.strict=nothing: no such choice"),
        ("model=wrong", "`model.base_ulr` is no setting; nearest: model.base_url"),
    ],
)
def test_each_mistake_is_one_line_with_the_nearest_right_thing(conf: str, word: str, message: str) -> None:
    (line,) = problems(conf, "env=quiz", word)
    assert line.startswith(message)


def test_all_mistakes_come_at_once(conf: str) -> None:
    assert len(problems(conf, "env=quiz,nope", "model=nope", "a=1", "b")) == 4
    assert len(problems(conf, "env=quiz", "collect.in_flight=x", "collect.fsync=maybe")) == 2


def test_private_values_are_not_repeated(conf: str) -> None:
    lines = problems(conf, "env=quiz", "model.headers=sk-secret", "model.headers.x=[sk-secret]")
    assert "sk-secret" not in "".join(lines)


def test_a_missing_config_dir_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--config-dir: no folder .*nowhere"):
        compose_settings(["--config-dir", str(tmp_path / "nowhere")], RunConfig)


def test_values_that_hydra_cannot_read_are_named(conf: str) -> None:
    (line,) = problems(conf, "env=quiz", "model.sampling.stop=a(b")
    assert line.startswith("`model.sampling.stop=a(b`: cannot be read")


def test_judges(conf: str) -> None:
    config = compose(conf, "env=quiz", "judge=openai", "judge.base_url=http://x/v1", "judge.name=J")
    assert {name: (judge.base_url, judge.name) for name, judge in config.judges.items()} == {
        "default": ("http://x/v1", "J")
    }
    assert config.envs["quiz"].judge == "default"
    words = ("judges.big=vllm", "judges.big.serve.path=/m", "judges.big.sampling.temperature=0", "env.judge=big")
    config = compose(conf, "env=quiz", *words)
    assert config.judges["big"].name == "/m"
    assert config.judges["big"].sampling["temperature"] == 0
    assert config.envs["quiz"].judge == "big"
    config = compose(conf, "env=quiz", "judge=policy")
    assert (config.judges, config.envs["quiz"].judge) == ({}, "policy")
    (line,) = problems(conf, "env=quiz", "judge=openai", "judge.name=x")
    assert line.startswith("judges.default.base_url=... is missing (judges.default=openai needs it)")


def test_what_a_choice_needs_is_asked_for(conf: str) -> None:
    lines = problems(conf, "env=quiz", "model=openai", "model.name=x")
    assert len(lines) == 1
    assert lines[0].startswith("model.base_url=... is missing (model=openai needs it): Endpoint,")
    assert problems(conf, "env=quiz", "model=vllm")[0].startswith(
        "model.serve.path=... is missing (model=vllm needs it)"
    )
    config = compose(conf, "env=quiz", "model=vllm", "model.serve.path=/models/mine")
    assert config.model.name == "/models/mine"
