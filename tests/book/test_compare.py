"""What counts as the same output: `tools.compare`, which nbval and the personalities use."""

import copy

import pytest

from tools import compare


def notebook(*outputs):
    cell = {"cell_type": "code", "metadata": {}, "source": "", "outputs": list(outputs)}
    return {"cells": [{"cell_type": "markdown", "metadata": {}, "source": ""}, cell]}


def stream(text, name="stdout"):
    return {"output_type": "stream", "name": name, "text": text}


def display(**data):
    return {"output_type": "display_data", "metadata": {}, "data": {k.replace("_", "/"): v for k, v in data.items()}}


STORED = notebook(
    stream(["accuracy 0.8123\n", "wins 12\n"]),
    display(
        text_plain="C1 reproduced",
        application_json={"claims": {"C1": {"verdict": "reproduced", "values": {"gain": [0.8123, None]}}}},
        text_html=['<img src="data:image/png;base64,AAAA"> at 0.5'],
        image_png="AAAA",
    ),
)


def test_the_same_notebook_has_no_differences():
    assert compare.differences(STORED, copy.deepcopy(STORED), 1e-4) == []


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda a, b: a.update(text="accuracy 0.8223\nwins 12\n"), "stdout"),
        (lambda a, b: a.update(text="accuracy 0.8123\nwins 13\n"), "stdout"),
        (lambda a, b: b["data"].update({"text/plain": "C1 partly"}), "text/plain"),
        (lambda a, b: b["data"]["application/json"]["claims"]["C1"].update(verdict="partly"), "application/json"),
        (lambda a, b: b["data"]["application/json"]["claims"]["C1"]["values"].update(gain=[0.83, None]), "application/json"),
        (lambda a, b: b["data"].update({"text/html": '<img src="data:image/png;base64,BBBB"> at 0.6'}), "text/html"),
        (lambda a, b: b["data"].pop("text/plain"), "text/plain"),
    ],
)
def test_what_differs_is_named_by_cell_and_kind(change, kind):
    executed = copy.deepcopy(STORED)
    change(*executed["cells"][1]["outputs"])
    (line,) = compare.differences(STORED, executed, 1e-4)
    assert line.startswith(f"code cell 1, {kind}: ")


def test_pictures_stderr_and_numbers_within_the_tolerance_are_the_same():
    executed = copy.deepcopy(STORED)
    _, second = executed["cells"][1]["outputs"]
    executed["cells"][1]["outputs"] = [stream("accuracy 0.81231\n"), stream("wins 12\n"), stream("careful\n", "stderr"), second]
    second["data"]["image/png"] = "BBBB"
    second["data"]["text/html"] = '<img src="data:image/png;base64,Qk0+/8=\nQUFB"> at 0.5'
    second["data"]["application/json"]["claims"]["C1"]["values"]["gain"] = [0.81228, None]
    assert compare.differences(STORED, executed, 1e-4) == []
    assert compare.differences(STORED, executed, 1e-9) != []


def test_a_cell_that_raised_or_is_missing_differs():
    raised = notebook({"output_type": "error", "ename": "ValueError", "evalue": "no", "traceback": []})
    assert any("error: 0 outputs stored, 1 executed" in line for line in compare.differences(STORED, raised, 1e-4))
    assert compare.differences(STORED, {"cells": []}, 1e-4) == ["1 code cells stored, 0 executed"]


def test_pictures_inside_json_text_are_cut_out():
    a, b = ({"html": f'<img src="data:image/png;base64,{code}"> 3'} for code in ("AA\nBB", "CCCC"))
    assert compare.comparable(a) == compare.comparable(b)
    assert "3" in compare.comparable(a)
