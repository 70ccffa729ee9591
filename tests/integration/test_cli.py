"""Commands as a user types them: help, plans, and one clear line for each kind of bad input."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from accrete_pipelines import incremental
from conftest import ROOT, Cli
from yaml_sample import documents_in

from accrete.cli import _doctor as doctor
from accrete.store._ports import free_ports

PLAN = ("plan", "--classes", "100")
COMPILE = ("compile", "-o", "out.yaml")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*PLAN, "--alpha", "0"), "alpha is 0: give a number above 0"),
        ((*PLAN, "--alpha", "-1"), "alpha is -1"),
        ((*PLAN, "--alpha", "nan"), "alpha is 'nan'"),
        ((*PLAN, "--alpha", "fast"), "alpha is 'fast'"),
        ((*PLAN, "--initial", "0"), "initial classes are 0: give a number from 1 to 100"),
        ((*PLAN, "--initial", "101"), "initial classes are 101"),
        ((*PLAN, "--step", "0"), "classes per stage are 0"),
        ((*PLAN, "--stages", "10,20"), "the stages add 30 classes but there are 100"),
        ((*PLAN, "--stages", "10,x"), "stage size 'x' is not a whole number"),
        ((*PLAN, "--stages", "100,0"), "stage 2 adds 0 classes"),
        ((*PLAN, "--alpha", "1", "--step", "2"), "--alpha and --step exclude each other"),
        (("plan", "--classes", "0"), "0 classes"),
        (("plan", "--counts", "nothing.json"), "nothing.json cannot be read"),
        (("plan", "--class-order", "nothing.txt"), "class order nothing.txt cannot be read"),
        (("plan", "--source", "pictures"), "'pictures' is not one of 'digits'"),
        (("plan", "--source", "parquet"), "source parquet needs --data"),
        (("plan", "--source", "imagefolder", "--data", "nowhere"), "nowhere does not exist"),
        (("run", "--lr", "-1"), "lr is -1.0"),
        (("run", "--epochs", "1,2"), "epochs lists 2 stages but the plan has 4"),
        (("run", "--epochs", "a"), "epochs are 'a'"),
        (("run", "--model", "vgg"), "model is 'vgg'"),
        (("run", "--name", "No_Good"), "run name is 'No_Good'"),
        (("run", "--store", "bucket"), "store is 'bucket': give s3://bucket"),
        (("run", "--seed", "-1"), "seed is -1"),
        (("run", "--endpoint", "kfp"), "endpoint is 'kfp'"),
        (("run", "--test-fraction", "1"), "test fraction is 1.0"),
        (("run", "--no-such-option",), "--no-such-option"),
        (("compile", "-o", "out.txt"), "output is out.txt"),
        ((*COMPILE, "--image", "Team/trainer"), "image is 'Team/trainer'"),
        ((*COMPILE, "--gpus", "1,2"), "GPUs are listed for 2 stages, but the plan has 4"),
        ((*COMPILE, "--gpus", "16"), "a step asks for 16 GPUs, but a node has 8"),
        ((*COMPILE, "--gpus", "auto"), "GPUs are 'auto': give 1, 1,1,2,4,4 or auto:8"),
        ((*COMPILE, "--node-selector", "disk"), "node selector is 'disk': give key=value"),
        ((*COMPILE, "--toleration", "gpu"), "toleration is 'gpu': give key[=value]:Effect"),
        ((*COMPILE, "--memory", "16GB"), "memory of a training step is '16GB'"),
        ((*COMPILE, "--cache-claim", "My_Claim"), "claim of the node cache is 'My_Claim'"),
        ((*COMPILE, "--pull-policy", "Sometimes"), "'Sometimes' is not one of 'Always'"),
        ((*PLAN, "--gpus", "1,2"), "GPUs are listed for 2 stages"),
        (("status", "nothing"), "no run 'nothing'"),
        (("logs", "nothing"), "no log of run 'nothing'"),
        (("frobnicate",), "No such command 'frobnicate'"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_exit_code_two(
    arguments: tuple[str, ...], message: str, cli: Cli
) -> None:
    done = cli(*arguments)
    assert done.returncode == 2
    errors = done.stderr.splitlines()
    assert len(errors) == 1
    assert errors[0].startswith("accrete: error: ")
    assert message in errors[0]


def test_wrong_credentials_are_told_before_any_step(cli: Cli) -> None:
    done = cli("run", ACCRETE_S3_SECRET_KEY="wrong-wrong")
    assert done.returncode == 3
    assert "refuses access" in done.stderr
    assert "check the credentials" in done.stderr
    assert "wrong-wrong" not in done.stderr + done.stdout


def test_a_kubeflow_address_with_credentials_is_refused_without_them(cli: Cli) -> None:
    done = cli("run", "--endpoint", "http://me:very-secret@host:8888")
    assert done.returncode == 2
    assert "endpoint is '…@host:8888': give http://host:port of the KFP API" in done.stderr
    assert "very-secret" not in done.stderr + done.stdout


def test_half_of_the_credentials_is_told(cli: Cli) -> None:
    done = cli("run", ACCRETE_S3_SECRET_KEY="")
    assert done.returncode == 2
    assert "ACCRETE_S3_SECRET_KEY is not: set both" in done.stderr


def test_an_unreachable_store_is_told_before_any_step(cli: Cli) -> None:
    endpoint = f"http://127.0.0.1:{free_ports(1)[0]}"
    done = cli("run", ACCRETE_S3_ENDPOINT=endpoint)
    assert done.returncode == 3
    assert f"the object store at {endpoint} cannot be reached" in done.stderr


def test_a_missing_bucket_is_told_before_any_step(cli: Cli) -> None:
    done = cli("run", "--store", "s3://no-such-bucket")
    assert done.returncode == 3
    assert "bucket 'no-such-bucket' does not exist" in done.stderr


def test_a_folder_without_classes_is_told(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = cli("plan", "--source", "imagefolder", "--data", "empty")
    assert done.returncode == 2
    assert "holds no image: it is empty" in done.stderr


def test_the_paper_s_plan_as_json(cli: Cli) -> None:
    done = cli(*PLAN, "--initial", "10", "--alpha", "1", "--json")
    plan = json.loads(done.stdout)
    assert [s["num_new_classes"] for s in plan["stages"]] == [10, 10, 20, 40, 20]
    assert [s["num_classes"] for s in plan["stages"]] == [10, 20, 40, 80, 100]
    assert [s["index"] for s in plan["stages"]] == [1, 2, 3, 4, 5]


def test_the_paper_s_plan_as_a_table(cli: Cli) -> None:
    done = cli(*PLAN, "--initial", "10", "--alpha", "1")
    assert "125,000 images" in done.stdout
    assert "250,000 (50 %)" in done.stdout


def test_a_first_stage_of_one_class_is_warned_about(cli: Cli) -> None:
    done = cli("plan", "--classes", "5", "--initial", "1")
    assert done.returncode == 0
    assert done.stderr.startswith("warning: the first stage has one class")


def test_a_class_order_file_is_followed(cli: Cli, tmp_path: Path) -> None:
    order = [str(digit) for digit in reversed(range(10))]
    (tmp_path / "order.txt").write_text("\n".join(order))
    plan = json.loads(cli("plan", "--class-order", "order.txt", "--json").stdout)
    assert [name for stage in plan["stages"] for name in stage["new_classes"]] == order


def test_planning_and_compiling_import_neither_torch_nor_minio(tmp_path: Path) -> None:
    code = """
import sys
from accrete.cli.main import main
sys.argv[1:1] = ["compile", "-o"]
main()
heavy = {"torch", "torchvision", "minio"} & set(sys.modules)
assert not heavy, heavy
"""
    output = str(tmp_path / "pipeline.yaml")
    subprocess.run([sys.executable, "-c", code, output], check=True, cwd=tmp_path)


@pytest.mark.slow
def test_a_pipeline_compiles_in_any_language(cli: Cli, tmp_path: Path) -> None:
    localedef = shutil.which("localedef")
    if localedef is None or not Path("/usr/share/i18n/locales/tr_TR").exists():
        pytest.skip("no locales can be made here: apt-get install locales")
    # In Turkish the capital of i is another letter.
    turkish = tmp_path / "locales" / "tr_TR.UTF-8"
    turkish.parent.mkdir()
    subprocess.run([localedef, "-i", "tr_TR", "-f", "UTF-8", turkish], check=False)
    env = {"LOCPATH": str(turkish.parent), "LC_ALL": turkish.name}
    kfp = ("dsl", "compile", "--py", str(ROOT / "pipelines" / "incremental.py"), "--output")
    for number, done in enumerate(
        (
            cli("compile", "-o", "0.yaml", "--name", "any"),
            cli("compile", "-o", "1.yaml", "--name", "any", script="accrete", **env),
            cli(*kfp, "2.yaml", script="kfp", **env, ACCRETE_NAME="any"),
        )
    ):
        assert done.returncode == 0, done.stderr
        documents = documents_in((tmp_path / f"{number}.yaml").read_text())
        assert documents == documents_in((tmp_path / "0.yaml").read_text())


def test_kfp_compiles_the_file_with_options_from_the_environment(cli: Cli, tmp_path: Path) -> None:
    file = str(ROOT / "pipelines" / "incremental.py")
    arguments = ("dsl", "compile", "--py", file, "--output", "out.yaml")
    done = cli(*arguments, script="kfp", ACCRETE_ALPHA="2", ACCRETE_INITIAL="1")
    assert done.returncode == 0, done.stderr
    spec = documents_in((tmp_path / "out.yaml").read_text())[0]
    planned = spec["root"]["dag"]["tasks"]["prepare"]["inputs"]["parameters"]["planned"]
    assert planned["runtimeValue"]["constant"]["plan"]["stage_sizes"] == [1, 2, 6, 1]


def test_kfp_s_other_commands_are_untouched(cli: Cli) -> None:
    done = cli("--version", script="kfp")
    assert done.returncode == 0
    assert "2.17" in done.stdout
    own = cli("run", "list", "--endpoint", "http://127.0.0.1:9", script="kfp")
    assert own.returncode != 0
    assert "accrete: " not in own.stderr
    assert "Usage: kfp dsl" in cli("dsl", "--help", script="kfp").stdout


def test_kfp_run_of_another_file_is_one_line(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text("x = 1\n")
    done = cli("run", "other.py", script="kfp")
    assert done.returncode == 2
    assert "other.py defines no `run` command" in done.stderr
    assert "no.py does not exist" in cli("run", "no.py", script="kfp").stderr


@pytest.mark.slow
def test_doctor_sees_a_kfp_script_that_was_taken_back(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = cli("doctor")
    assert done.returncode == 0
    assert "ok    kfp run" in done.stdout
    script = Path(sys.executable).parent / "kfp"
    theirs = script.read_text().replace("accrete.cli.kfp_command", "kfp.cli.__main__")
    (tmp_path / "kfp").write_text(theirs)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    found = doctor._kfp_script()
    assert not found.ok
    assert "accrete run" in found.detail


def test_the_script_says_what_the_command_says(cli: Cli) -> None:
    for arguments in ((*PLAN, "--alpha", "2"), (*PLAN, "--alpha", "0"), ("--help",)):
        script, command = cli(*arguments, script="accrete"), cli(*arguments)
        assert (script.returncode, script.stdout) == (command.returncode, command.stdout)
        assert script.stderr == command.stderr


@pytest.mark.parametrize("command", ["run", "compile", "plan", "status", "logs", "doctor"])
def test_every_command_explains_itself(command: str, cli: Cli) -> None:
    done = cli(command, "--help")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) > 5
    assert "Usage: accrete" in done.stdout


def test_plan_finds_the_cheapest_stages_and_compares_them(cli: Cli) -> None:
    done = cli("plan", "--classes", "100", "--initial", "10", "--alpha", "auto")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "alpha = auto: least cost by the paper's Table I"
    assert any(line.startswith("alpha = 1 from 10 classes ") for line in lines)
    assert any(line.startswith("from scratch: all at once ") for line in lines)
    assert "which is an assumption" in done.stdout


def test_plan_takes_measured_costs(cli: Cli, tmp_path: Path) -> None:
    rows = [
        {"old_images": old, "new_images": new, "images": 2.0 * new * (old + new) ** 0.1}
        for old in (0, 5000)
        for new in (500, 9000)
    ]
    (tmp_path / "costs.json").write_text(json.dumps(rows))
    done = cli("plan", "--classes", "20", "--alpha", "auto", "--costs", "costs.json", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["cost_model"]["parameters"][1:] == pytest.approx([1.0, 0.1])
    chosen, *others = found["alternatives"]
    assert all(chosen["images"] <= other["images"] for other in others)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("{}", "costs.json hold no list"),
        ("[{]", "costs.json cannot be read"),
        ('[{"old_images": 1}]', "costs.json[0] lacks the field 'new_images'"),
        ("[]", "costs.json has 0 measurements: a cost model takes at least 4"),
    ],
)
def test_measured_costs_that_cannot_be_used_are_one_line(
    content: str, match: str, cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "costs.json").write_text(content)
    done = cli("plan", "--classes", "20", "--alpha", "auto", "--costs", "costs.json")
    assert done.returncode == 2
    assert match in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_plan_shows_gpus_that_grow_with_the_seen_images(cli: Cli) -> None:
    arguments = (*PLAN, "--initial", "10", "--gpus", "auto:8")
    lines = cli(*arguments).stdout.splitlines()
    assert lines[1].endswith(" GPUs")
    assert [int(line.split()[-1]) for line in lines[2:7]] == [1, 1, 2, 4, 8]
    stages = json.loads(cli(*arguments, "--json").stdout)["stages"]
    assert [stage["gpus"] for stage in stages] == [1, 1, 2, 4, 8]


def test_a_plan_shows_its_whole_time_on_kubeflow_where_a_speed_is_named(cli: Cli) -> None:
    arguments = (*PLAN, "--initial", "10", "--images-per-second", "1000")
    assert cli(*arguments).stdout.splitlines()[-1] == (
        "on Kubeflow, training takes 5:50 by the recipe fast at 1,000 images a second; beside that "
        "6 steps of 20 s (prepare, stages 1-2, 3, 4, 5, report): 7:50 in all"
    )
    found = json.loads(cli(*arguments, "--step-overhead", "2", "--json").stdout)["on_cluster"]
    assert found["steps"] == [[index, index] for index in range(1, 6)]
    assert found["overhead_s"] == 14
    assert found["total_s"] == found["training_s"] + 14
    found = json.loads(cli(*arguments, "--step-overhead", "0", "--json").stdout)["on_cluster"]
    assert found["steps"] == [[index, index] for index in range(1, 6)]
    assert found["overhead_s"] == 7 * 20  # what a step takes, whatever is packed
    assert "on Kubeflow" not in cli(*PLAN, "--initial", "10").stdout


def test_the_options_of_run_are_frozen() -> None:
    """A new option is a decision: change this list with it."""
    expected = """
        alpha initial step stages class-order order-seed counts dataset
        costs stage-seconds images-per-second max-stages min-classes
        source data image-column label-column image-size test-fraction validation-fraction
        only-classes split-seed on-bad-image exclude class-level label-pattern config
        model width bn-after-relu weights weights-sha256 weights-mean weights-std
        recipe epochs budget-epochs batch-size lr weight-decay label-smoothing flip crop-padding
        carry-momentum image-sides precision compile deterministic replay head-init trained until
        stop-gradient stop-patience
        seed name store endpoint namespace token-file cookie-file endpoint-ca
            runner experiment watch resubmit
        image pull-policy pull-secret gpus max-gpus-per-node gpu-resource gpu-kind gpu-label
            nodes node-wait
        cpu memory prepare-cpu prepare-memory shared-memory data-memory node-selector toleration
        spot cache-claim
        step-overhead max-steps
        pushgateway retries step-timeout run-ttl store-config store-ca store-wait
        store-credentials"""
    options = [param for param in incremental.run.params if param.opts]
    names = {param.opts[0].removeprefix("--") for param in options if param.opts[0] != param.name}
    assert names - {"step"} == set(expected.split()) - {"step"}
