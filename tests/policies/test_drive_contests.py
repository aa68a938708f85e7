"""Contest problems: files in the form in which LiveCodeBench publishes them, written by hand, and how programs are judged."""

from __future__ import annotations

import base64
import datetime
import gzip
import json
import pickle
import sys
import zlib

import pytest

from lib.policies import drive
from lib.policies.drive import contests, language_models

linux = pytest.mark.skipif(sys.platform != "linux", reason="the jail needs Linux")


def packed(tests, protocol=pickle.DEFAULT_PROTOCOL):
    """Private tests as code_generation_lite has them."""
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(tests), protocol))).decode()


def case(given, wanted, kind="stdin"):
    return {"input": given, "output": wanted, "testtype": kind}


SUMS = {
    "question_title": "Sum of two",
    "question_content": "Two integers stand on a line. Print their sum.",
    "platform": "atcoder",
    "question_id": "abc999_a",
    "contest_id": "abc999",
    "contest_date": "2025-01-04T00:00:00",
    "starter_code": "",
    "difficulty": "easy",
    "public_test_cases": json.dumps([case("1 2\n", "3\n")]),
    "private_test_cases": packed([case("-5 5\n", "0\n"), case("10 20\n", "30\n")]),
    "metadata": "{}",
}
PAIR = {
    **SUMS,
    "question_title": "Pair",
    "question_content": "Return the indices of two numbers whose sum is the target.",
    "platform": "leetcode",
    "question_id": "9999",
    "starter_code": "class Solution:\n    def pair(self, nums: List[int], target: int) -> List[int]:\n        ",
    "difficulty": "hard",
    "public_test_cases": json.dumps([case("[2, 7, 11]\n9", "[0, 1]", "functional")]),
    "private_test_cases": json.dumps([case("[3, 3]\n6", "[0, 1]", "functional")]),
    "metadata": json.dumps({"func_name": "pair"}),
}
RIGHT = """class Solution:
    def pair(self, nums: List[int], target: int) -> List[int]:
        places = defaultdict(int)
        for place, value in enumerate(nums):
            if target - value in places:
                return places[target - value], place
            places[value] = place
"""


@pytest.fixture
def write(tmp_path):
    def writes(*rows, name="test.jsonl"):
        path = tmp_path / name
        path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return writes


# ------------------------------------------------------------------------------------------------------------- the loader


def test_problems_are_read(write):
    sums, pair = drive.load_livecodebench(write(SUMS, "\n", PAIR))
    assert (sums.name, sums.title, sums.platform, sums.difficulty) == ("abc999_a", "Sum of two", "atcoder", "easy")
    assert sums.date == datetime.date(2025, 1, 4)
    assert sums.function is None
    assert sums.public == ({"input": "1 2\n", "output": "3\n"},)
    assert [test["output"] for test in sums.private] == ["0\n", "30\n"]
    assert [test["output"] for test in sums.tests()] == ["3\n", "0\n", "30\n"]
    assert sums.tests(hidden=False) == list(sums.public)
    assert pair.function == "pair"
    assert pair.starter in pair.prompt
    assert "standard input" in sums.prompt
    assert sums.statement in sums.prompt
    assert "30" not in repr(sums)  # a log must not give private tests away
    assert len(drive.Priority([sums, pair]).weights()) == len({sums, pair}) == 2
    assert pickle.loads(pickle.dumps(pair)) == pair


def test_a_folder_is_read_in_order_of_names(write):
    write(PAIR, name="test2.jsonl")
    folder = write(SUMS).parent
    write("no JSON", name="README.md")
    assert [p.name for p in drive.load_livecodebench(folder)] == ["abc999_a", "9999"]
    assert [p.name for p in drive.load_livecodebench(str(folder))] == ["abc999_a", "9999"]
    write({**PAIR, "question_id": "abc999_a"}, name="test3.jsonl")
    with pytest.raises(ValueError, match=r"test3\.jsonl, line 1: question_id 'abc999_a' stands twice"):
        drive.load_livecodebench(folder)


def test_lines_may_come_from_anywhere(write, tmp_path):
    wanted = drive.load_livecodebench(write(SUMS, PAIR))
    assert drive.load_livecodebench([json.dumps(SUMS), json.dumps(PAIR).encode()]) == wanted
    with gzip.open(tmp_path / "test.jsonl.gz", "wt") as file:
        file.write(json.dumps(SUMS) + "\n" + json.dumps(PAIR) + "\n")
    with gzip.open(tmp_path / "test.jsonl.gz") as file:
        assert drive.load_livecodebench(file) == wanted
    with pytest.raises(ValueError, match=r"^line 2: no metadata"):
        drive.load_livecodebench([json.dumps(SUMS), json.dumps({k: v for k, v in PAIR.items() if k != "metadata"})])


def test_private_tests_can_be_left_out(write):
    (sums,) = drive.load_livecodebench(write({**SUMS, "private_test_cases": "no packing"}), private=False)
    assert sums.private == ()
    with pytest.raises(ValueError, match="line 1: private_test_cases are neither JSON nor base64"):
        drive.load_livecodebench(write({**SUMS, "private_test_cases": "no packing"}))


def test_parts_may_be_json_already(write):
    row = {**PAIR, "metadata": {"func_name": "pair"}, "public_test_cases": json.loads(PAIR["public_test_cases"])}
    assert drive.load_livecodebench(write(row)) == drive.load_livecodebench(write(PAIR))


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"question_content": None, "drop": "metadata"}, "no metadata: not a row"),
        ({"metadata": "{"}, "metadata is not JSON"),
        ({"metadata": "[]"}, "metadata must hold a dict"),
        ({"public_test_cases": "x"}, "public_test_cases is not JSON"),
        ({"public_test_cases": "{}"}, "public_test_cases must hold a list"),
        ({"public_test_cases": '[{"input": "1"}]'}, "texts input, output and testtype"),
        ({"public_test_cases": '[{"input": 1, "output": "1", "testtype": "stdin"}]'}, "texts input, output"),
        ({"public_test_cases": json.dumps([case("1", "1", "file")])}, "testtype must be stdin or functional"),
        ({"public_test_cases": json.dumps([case("1", "1", "functional")])}, "all stdin or all functional"),
        ({"public_test_cases": "[]", "private_test_cases": "[]"}, "there is no test"),
        ({"metadata": '{"func_name": "f"}'}, "func_name"),
        ({"contest_date": "yesterday"}, "isoformat"),
        ({"private_test_cases": 5}, "private_test_cases must hold a list"),
        ({"private_test_cases": packed([])[:-8] + "AAAA"}, "private_test_cases"),
        ({"private_test_cases": packed("text")}, "private_test_cases must hold a list"),
    ],
)
def test_rows_of_another_form_are_refused(write, changed, match):
    row = {**SUMS, **changed}
    row.pop(row.pop("drop", ""), None)
    with pytest.raises(ValueError, match=match) as caught:
        drive.load_livecodebench(write(PAIR, row))
    assert str(caught.value).startswith("test.jsonl, line 2: ")


def test_functional_tests_are_json(write):
    for bad in (case("[1\n2", "1", "functional"), case("1", "one", "functional")):
        with pytest.raises(ValueError, match="must be JSON where a function is called"):
            drive.load_livecodebench(write({**PAIR, "public_test_cases": json.dumps([bad])}))


def test_files_that_are_none(write, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"code_generation_lite"):
        drive.load_livecodebench(tmp_path / "none.jsonl")
    with pytest.raises(FileNotFoundError, match=r"path"):
        drive.load_livecodebench(tmp_path)
    with pytest.raises(ValueError, match="at least one problem"):
        drive.load_livecodebench(write("\n"))
    with pytest.raises(ValueError, match="line 1: the line is not JSON"):
        drive.load_livecodebench(write("{'a': 1}\n"))
    with pytest.raises(ValueError, match="line 1: the line must hold a dict"):
        drive.load_livecodebench(write("[1]\n"))
    for bad in (None, 3, b"x", "", SUMS, [SUMS], [1]):
        with pytest.raises(TypeError, match="path"):
            drive.load_livecodebench(bad)
    with pytest.raises(TypeError, match="private"):
        drive.load_livecodebench(write(SUMS), private="yes")
    with pytest.raises(ValueError, match="most_bytes"):
        drive.load_livecodebench(write(SUMS), most_bytes=0)


# ------------------------------------------------------------------------------------------ private tests, never unpickled


@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("text", ["short", "é" * 300, "\U0001f600" * 80_000])
def test_a_pickled_text_is_read(protocol, text):
    data = base64.b64encode(zlib.compress(pickle.dumps(text, protocol))).decode()
    assert contests.unpacked(data) == text


class Bomb:
    exploded = False

    def __reduce__(self):
        return (setattr, (Bomb, "exploded", True))


def _global(name, argument):
    """A pickle of protocol 0 that calls a function."""
    return f"c{name[0]}\n{name[1]}\n(V{argument}\ntR.".encode()


@pytest.mark.parametrize(
    "pickled",
    [
        pickle.dumps(Bomb()),
        pickle.dumps([json.dumps([]), Bomb()]),
        pickle.dumps(["[]"]),
        pickle.dumps({"a": "[]"}),
        pickle.dumps(5),
        pickle.dumps(b"[]"),
        pickle.dumps(["[]", "[]"], 0),
        _global(("os", "system"), "true"),
        pickle.dumps("[]")[:-1] + _global(("builtins", "print"), "x"),
        pickle.dumps("[]")[:-1],
        b"",
        b"\xff\xff",
        b".",
    ],
)
def test_a_pickle_of_anything_else_is_refused_and_not_carried_out(write, pickled, monkeypatch):
    def never(*_args, **_kwargs):
        raise AssertionError("something was unpickled")

    for name in ("load", "loads", "Unpickler", "_Unpickler"):
        monkeypatch.setattr(pickle, name, never)
    text = base64.b64encode(zlib.compress(pickled)).decode()
    with pytest.raises(ValueError, match=r"test\.jsonl, line 1: private_test_cases"):
        drive.load_livecodebench(write({**SUMS, "private_test_cases": text}))
    assert not Bomb.exploded


def test_a_small_file_that_unpacks_to_a_huge_one_is_refused(write):
    text = base64.b64encode(zlib.compress(pickle.dumps("0" * 10**7))).decode()
    assert len(text) < 20_000
    with pytest.raises(ValueError, match="more than most_bytes = 1000000 bytes"):
        drive.load_livecodebench(write({**SUMS, "private_test_cases": text}), most_bytes=10**6)
    cut = base64.b64encode(zlib.compress(pickle.dumps("0" * 1000))[:-6]).decode()
    with pytest.raises(ValueError, match="end too early"):
        contests.unpacked(cut)
    with pytest.raises(ValueError, match="neither JSON nor base64"):
        contests.unpacked("ÄÖ")


def test_nesting_that_no_reader_stands_is_an_error(write):
    deep = "[" * 200_000
    for changed in ({"private_test_cases": deep}, {"metadata": deep}):
        with pytest.raises(ValueError, match="line 1: "):
            drive.load_livecodebench(write({**SUMS, **changed}))


# ---------------------------------------------------------------------------------------------------------------- judging


@linux
def test_programs_that_read_and_print_are_judged(write):
    (sums,) = drive.load_livecodebench(write(SUMS))
    assert sums.check("print(sum(map(int, input().split())))") == drive.CheckResult(True, 3)
    assert sums.check("print(3)") == drive.CheckResult(False, 1)
    assert sums.check("print(3)", hidden=False).passed  # knows the public test
    assert sums.check("print(1 / 0)") == drive.CheckResult(False, 0, "error")
    assert sums.check("import os\nos.listdir('/')") == drive.CheckResult(False, 0, "forbidden")
    fast = "import sys\na, b = map(int, sys.stdin.buffer.read().split())\nsys.stdout.buffer.write(b'%d' % (a + b))"
    assert sums.check(fast).passed
    main = "def main():\n    print(sum(map(int, sys.stdin.readline().split())))\nif __name__ == '__main__':\n    main()"
    assert sums.check(main).passed


@linux
def test_functions_are_judged(write):
    (pair,) = drive.load_livecodebench(write(PAIR))
    assert pair.check(RIGHT) == drive.CheckResult(True, 2)  # a tuple counts as the list
    plain = "def pair(nums, target):\n    return [0, 1]"
    assert pair.check(plain).passed
    assert pair.check("def pair(nums, target):\n    return [0, len(nums)]") == drive.CheckResult(False, 0)
    assert pair.check("def pair(nums, target):\n    return '[0, 1]'") == drive.CheckResult(False, 0)
    assert pair.check("def other(nums, target):\n    return [0, 1]").error == "error"
    assert pair.check("def pair(nums):\n    return [0, 1]").error == "error"
    assert pair.check("def pair(nums, target):\n    return {0, 1}").error == "error"
    state = "class Solution:\n    n = []\n    def __init__(self): self.s = 0\n    def pair(self, a, b):\n"
    assert pair.check(state + "        self.s += 1\n        return [self.s - 1, 1]").passed  # a new object for each test


@linux
def test_a_program_cannot_make_its_output_equal_to_everything(write):
    (pair,) = drive.load_livecodebench(write(PAIR))
    liar = "class Yes(list):\n    def __eq__(self, other): return True\n    __ne__ = None\ndef pair(a, b): return Yes()"
    assert not pair.check(liar).passed
    forged = "import os\nos.write(1, b'{\"outputs\": [true, true]}')\nos._exit(0)"
    assert not pair.check(forged + "\ndef pair(a, b): return 1").passed
    nan = "def pair(a, b): return [float('nan')] * 2"
    assert not pair.check(nan).passed


@linux
def test_names_stand_ready_and_hide_none_of_pythons_own():
    names = "print(sqrt(4), gcd(4, 6), pow(2, 10, 1000), len(list(permutations('abc'))), bisect.bisect([1], 2), inf)"
    assert contests.judge(names, [{"input": "", "output": "2.0 2 24 6 1 inf"}]).passed
    deep = "def f(n):\n    return n and 1 + f(n - 1)\nprint(f(20_000))"
    assert contests.judge(deep, [{"input": "", "output": "20000"}]).passed
    assert drive.run_sandboxed("print(sqrt(4))", [""], how="process").kind == "error"
    date = "from datetime import date\nimport time, cmath, enum\nprint((date(2024, 3, 1) - date(2024, 2, 1)).days)"
    assert drive.run_sandboxed(date, [""], how="process") == ["29\n"]


@linux
def test_programs_do_not_see_what_others_left():
    left = "import builtins\ntry:\n    print(seen)\nexcept NameError:\n    seen = input()\n    print('new')"
    assert contests.judge(left, [{"input": "a", "output": "new"}, {"input": "b", "output": "new"}]).passed


def test_outputs_are_compared_line_by_line_and_number_by_number():
    same = contests.same_output
    assert same("1 2\n", "1 2")
    assert same(" 1\n2 \n\n", "1\n2")
    assert same("1.50\t-0.0", "1.5 0")
    assert same("1e3", "1000")
    assert same("YES", "YES\n")
    for got, wanted in (
        ("1\n2", "1 2"), ("yes", "YES"), ("50000000000000000", "50000000000000001"), ("1.0000001", "1"), ("1 2 3", "1 2"),
        ("nan", "NaN"), ("1_0", "10"), ("٣", "3"), ("1e9999999999", "1e9999999999 "[:-2]), ("", "0"), ("0x1", "1"),
    ):  # fmt: skip
        assert not same(got, wanted), (got, wanted)
    assert same([1, 2], [1, 2])
    assert not same([1, 2], "[1, 2]")
    assert not same("1", 1)


def test_tests_of_another_form_are_refused():
    for bad in ([], [1], [{"input": "1"}]):
        with pytest.raises(ValueError, match="tests"):
            contests.judge("print(1)", bad)
    with pytest.raises(ValueError, match="output must be JSON"):
        contests.judge("1", [{"input": "1", "output": "one"}], "f")
    with pytest.raises(ValueError, match="function"):
        contests.judge("1", [{"input": "1", "output": "1"}], "f()")
    with pytest.raises(TypeError, match="hidden"):
        drive.ContestProblem("a", "b", "c", ({"input": "1", "output": "1"},)).tests(hidden=None)


def test_functions_belong_to_processes():
    for bad in ({"function": "f"}, {"names": True}):
        with pytest.raises(ValueError, match="process"):
            drive.run_sandboxed("x", [[1]], **bad)
    with pytest.raises(TypeError, match="lists of arguments"):
        drive.run_sandboxed("x", ["1"], how="process", function="f")
    with pytest.raises(TypeError, match="names"):
        drive.run_sandboxed("x", [[1]], how="process", names=1)


# ------------------------------------------------------------------------------------------------------- language models


@linux
def test_rows_go_to_the_reward(write):
    problems = drive.load_livecodebench(write(SUMS, PAIR))
    rows = [problem.row() for problem in problems]
    assert [row["function"] for row in rows] == [None, "pair"]
    reward = language_models.reward_function(workers=2)
    fenced = [f"```python\n{text}\n```" for text in ("print(sum(map(int, input().split())))", RIGHT)]
    columns = {key: [row[key] for row in rows for _ in range(2)] for key in ("tests", "function")}
    assert reward(completions=[*fenced, *fenced], **columns) == [1.0, 0.0, 0.0, 1.0]
    with pytest.raises(ValueError, match="workers"):
        language_models.reward_function(workers=0)


def test_equal_completions_to_one_task_run_once(monkeypatch):
    ran = []
    monkeypatch.setattr(language_models, "passes", lambda source, tests, limits, name: ran.append(source) or source == "1\n")
    found = language_models.reward_function(workers=1)(
        completions=["nothing", "```py\n1\n```", "```py\n1\n```", "```py\n2\n```"], tests=[[{"input": "", "output": ""}]] * 4
    )
    assert found == [0.0, 1.0, 1.0, 0.0]
    assert sorted(ran, key=str) == ["1\n", "2\n", None]


def byte_tokenizer(transformers):
    """A token for each byte, made here."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = ["<pad>", "<end>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    made = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="<end>")


@linux
@pytest.mark.slow
@pytest.mark.parametrize("stage", [1, 2])
def test_the_recipe_runs_in_trl(write, tmp_path, stage):
    """A tiny causal model with random weights, taught two programs of which one is right, learns by TRL to write that one.

    Seen to pass with TRL 1.16.0, transformers 5.24.0, datasets 5.2.0, accelerate 1.15.0, tokenizers 0.23.3 and torch 2.13.0
    on CPU. Nothing is downloaded.
    """
    pytest.importorskip("trl")
    import datasets
    import torch
    import transformers

    tokenizer = byte_tokenizer(transformers)
    torch.manual_seed(0)
    settings = transformers.Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=512, pad_token_id=0, eos_token_id=1, bos_token_id=None,
    )  # fmt: skip
    model = transformers.Qwen2ForCausalLM(settings)
    problem = drive.ContestProblem("t", "Twice", "Twice", ({"input": "3", "output": "6"}, {"input": "0", "output": "0"}))
    rows = [{**problem.row(), "prompt": "Twice.\n"}, {**problem.row(), "prompt": "Again.\n"}]
    data = language_models.hardest_of(datasets.Dataset.from_list(rows), [0.0, 0.5], 0, drive.PreGRPOSchedule(((2, 1),)))
    texts = [row["prompt"] + f"```py\nprint(int(input())*{n})\n```<end>" for row in rows for n in (2, 3)]
    shown = tokenizer(texts, padding=True, return_tensors="pt").input_ids
    labels = shown.masked_fill(shown == 0, -100)
    labels[:, :7] = -100
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(80):
        optimizer.zero_grad()
        model(input_ids=shown, labels=labels).loss.backward()
        optimizer.step()
    many = {} if stage == 1 else {"num_generations": 16}
    trainer = language_models.train_with_trl(
        data, stage, model, tokenizer=tokenizer, output_dir=str(tmp_path / "out"), use_vllm=False, use_cpu=True, bf16=False,
        max_completion_length=48, max_steps=20, learning_rate=2e-3, lr_scheduler_type="constant",
        per_device_train_batch_size=16, gradient_accumulation_steps=stage, logging_steps=1, save_strategy="no", seed=0,
        disable_tqdm=True, **many,
    )  # fmt: skip
    rewards = [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]
    assert len(rewards) == 20
    assert 0.2 < rewards[0] < 0.8
    assert sum(rewards[-4:]) / 4 > max(0.8, rewards[0] + 0.15)
    assert trainer.args.num_generations == (8 if stage == 1 else 16)
    assert trainer.args.loss_type == "grpo"


def test_the_settings_of_both_stages_are_those_that_trl_accepts(tmp_path):
    """Batches must be multiples of the generations; seen with TRL 1.16.0."""
    trl = pytest.importorskip("trl")
    for stage in (1, 2):
        chosen = {**language_models.USUAL_SETTINGS, **language_models.PAPER_SETTINGS[stage]}
        settings = trl.GRPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, **chosen)
        assert settings.num_generations == (8, 64)[stage - 1]
        assert settings.generation_batch_size == (128, 256)[stage - 1]


def test_settings_make_whole_groups():
    for settings in language_models.PAPER_SETTINGS.values():
        answers = language_models.USUAL_SETTINGS["per_device_train_batch_size"] * settings["gradient_accumulation_steps"]
        assert answers % settings["num_generations"] == 0
