"""What local runs hand to a task, against what a Kubeflow backend's driver hands over."""

import json
from typing import Any

from accrete.runners._backend_form import BackendForm

LOCAL: dict[str, Any] = {
    "inputs": {
        "parameterValues": {
            "stages": [2.0],
            "run_name": "digits",
            "wait_s": 3600,
            "config": {"share": 0.28, "epochs": 6.0, "flags": [True, None], "far": 1e21},
            "data_memory": "",
        },
        "artifacts": {
            "parent": {
                "artifacts": [
                    {
                        "name": "model",
                        "type": {"schemaTitle": "system.Model", "schemaVersion": "0.0.1"},
                        "uri": "/runs/train-stage/model",
                        "metadata": {"stage": 1.0, "top1": 0.985915, "top1_old": 1.0},
                    }
                ]
            },
            "plan": {"artifacts": [{"name": "plan", "type": {}, "uri": "/runs/prepare/plan"}]},
        },
    },
    "outputs": {
        "artifacts": {
            "model": {
                "artifacts": [
                    {
                        "name": "model",
                        "type": {"schemaTitle": "system.Model", "schemaVersion": "0.0.1"},
                        "uri": "/runs/train-stage-2/model",
                    }
                ]
            }
        },
        "outputFile": "/runs/train-stage-2/executor_output.json",
    },
}


def handed(form: BackendForm) -> dict[str, Any]:
    return form.of(json.loads(json.dumps(LOCAL)))


def test_an_input_artifact_has_a_number_for_a_name_and_no_type() -> None:
    (parent,) = handed(BackendForm())["inputs"]["artifacts"]["parent"]["artifacts"]
    session = parent["metadata"].pop("store_session_info")
    assert isinstance(json.loads(session)["Params"], dict)
    assert parent == {
        "name": "1",
        "type": {"instanceSchema": ""},
        "uri": "/runs/train-stage/model",
        "metadata": {"stage": 1, "top1": 0.985915, "top1_old": 1, "display_name": "model"},
    }


def test_an_artifact_keeps_its_number_for_all_who_take_it() -> None:
    form = BackendForm()
    for _ in range(2):
        artifacts = handed(form)["inputs"]["artifacts"]
        assert [artifacts[name]["artifacts"][0]["name"] for name in ("parent", "plan")] == [
            "1",
            "2",
        ]


def test_whole_numbers_have_no_point_as_go_writes_them() -> None:
    values = handed(BackendForm())["inputs"]["parameterValues"]
    assert json.dumps([values["stages"], values["config"], values["wait_s"]]) == (
        '[[2], {"share": 0.28, "epochs": 6, "flags": [true, null], "far": 1e+21}, 3600]'
    )


def test_outputs_keep_their_types_and_places() -> None:
    assert handed(BackendForm())["outputs"] == LOCAL["outputs"]


def test_a_task_without_inputs_is_handed_none() -> None:
    outputs = {"outputFile": "/runs/prepare/executor_output.json"}
    assert BackendForm().of({"outputs": outputs}) == {"inputs": {}, "outputs": outputs}
