"""The main job on the real CIFAR-100: the paper's five stages through the compiled pipeline."""

import json
from pathlib import Path

import pytest
from conftest import Cli


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_five_stages_reach_half_of_all_images_within_seven_epochs(
    cli: Cli, cifar100: str, tmp_path: Path
) -> None:
    options = ("--source", "parquet", "--data", cifar100, "--gpus", "0", "--name", "cifar")
    done = cli("run", *options, timeout_s=7000)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "home" / "runs" / "cifar" / "report.json").read_text())
    stages = report["stages"]
    assert [stage["num_classes"] for stage in stages] == [10, 20, 40, 80, 100]
    assert report["dataset"]["num_train_images"] == 50_000
    assert report["totals"]["images_seen"] <= 350_000
    assert report["totals"]["top1"] >= 0.50
    print(done.stdout)  # noqa: T201  the figures, for whoever records them

    # 500 training and 100 test images of 3,072 bytes a class, and what Arrow adds to a shard.
    # Each stage fetches those of the next one while it trains; nothing is fetched twice.
    shard_bytes = 600 * 3072
    fetched = [stages[0]["pulled_bytes"], *(stage["prefetched_bytes"] for stage in stages[:-1])]
    for stage, num_bytes in zip(stages, fetched, strict=True):
        new_bytes = stage["num_new_classes"] * shard_bytes
        assert new_bytes < num_bytes < 1.01 * new_bytes
    assert [stage["pulled_bytes"] for stage in stages[1:]] == [0, 0, 0, 0]
    assert stages[-1]["prefetched_bytes"] == 0
