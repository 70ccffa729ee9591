"""Variables that are nearly ours, and those that are others'."""

import pytest

from accrete.core.environment import unknown_variables

KNOWN = ("ACCRETE_ALPHA", "ACCRETE_GPUS", "ACCRETE_IMAGE", "ACCRETE_LR")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ACCRETE_ALPA", "ACCRETE_ALPHA"),
        ("ACCRETE_GPU", "ACCRETE_GPUS"),
        ("ACCRETE_S3_ENDPIONT", "ACCRETE_S3_ENDPOINT"),
        ("ACCRETE_SNAPSHOT_INTERVAL", "ACCRETE_SNAPSHOT_INTERVAL_S"),
        ("ACCRETE_IMAGE_TAG", None),
        ("ACCRETE_WHO", None),
    ],
)
def test_unknown_variable_is_told_with_the_near_one(name: str, meant: str | None) -> None:
    assert unknown_variables([name, "ACCRETE_ALPHA", "HOME"], KNOWN) == [(name, meant)]


@pytest.mark.parametrize(
    "name",
    [
        "ACCRETE_STORE_SERVICE_HOST",
        "ACCRETE_STORE_SERVICE_PORT",
        "ACCRETE_STORE_SERVICE_PORT_S3",
        "ACCRETE_STORE_PORT",
        "ACCRETE_STORE_PORT_8333_TCP",
        "ACCRETE_STORE_PORT_8333_TCP_ADDR",
        "ACCRETE_TEST_CIFAR100",
        "ACCRETE_CACHE",
        "ACCRETION_DISK",
    ],
)
def test_variables_of_services_tests_and_others_are_left_alone(name: str) -> None:
    assert unknown_variables([name, "ACCRETE_STORE_SERVICE_HOST"], KNOWN) == []


@pytest.mark.parametrize(
    ("name", "meant"),
    [("ACCRETE_METRIC_PORT", "ACCRETE_METRICS_PORT"), ("ACCRETE_TEST_CIFAR10", None)],
)
def test_variable_of_no_service_and_no_test_is_told(name: str, meant: str | None) -> None:
    found = dict(unknown_variables([name], KNOWN))
    assert name in found
    assert meant in (None, found[name])
