"""Kubernetes' syntax, checked before a cluster sees it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accrete.config.kubernetes import (
    Toleration,
    check_cpu,
    check_label_key,
    check_label_value,
    check_memory,
    check_object_name,
    parse_node_label,
    parse_toleration,
    plain_cpu,
    plain_memory,
)
from accrete.errors import ConfigError

LONG = "a" * 64


@pytest.mark.parametrize("name", ["a", "accrete-store", "a.b-c.d", "0", "a" * 253])
def test_a_name_is_accepted(name: str) -> None:
    check_object_name("claim", name)


@pytest.mark.parametrize(
    "name", ["", "A", "a_b", "-a", "a-", "a..b", ".a", "a b", "a\n", "ä", "a" * 254]
)
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"claim is {name!r}: a Kubernetes name")):
        check_object_name("claim", name)


@pytest.mark.parametrize(
    "key", ["a", "A_b.c-9", "nvidia.com/gpu.product", "kubernetes.io/hostname", "x/" + "a" * 63]
)
def test_a_label_key_is_accepted(key: str) -> None:
    check_label_key("key", key)


@pytest.mark.parametrize(
    "key", ["", "/", "a/", "/a", "a/b/c", "-a", "a-", "A.com/b", "a b", "a=b", "a\n", LONG]
)
def test_what_is_no_label_key_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"key is {key!r}: give a name such as")):
        check_label_key("key", key)


@pytest.mark.parametrize("value", ["", "a", "NVIDIA-H100-80GB-HBM3", "0", "a" * 63])
def test_a_label_value_is_accepted(value: str) -> None:
    check_label_value("value", value)


@pytest.mark.parametrize("value", ["-", "a ", "a/b", "_a", LONG, "a\n"])
def test_what_is_no_label_value_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"value is {value!r}: give up to 63")):
        check_label_value("value", value)


@pytest.mark.parametrize(
    ("text", "label"),
    [("a=b", ("a", "b")), ("x.io/y=", ("x.io/y", "")), ("disk=ssd", ("disk", "ssd"))],
)
def test_a_node_selector_is_read(text: str, label: tuple[str, str]) -> None:
    assert parse_node_label(text) == label


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("disk", "node selector is 'disk': give key=value"),
        ("", "node selector is '': give key=value"),
        ("=ssd", "the key of the node selector is '':"),
        ("a=b=c", "the value of the node selector a is 'b=c':"),
        ("disk:ssd=1", "the key of the node selector is 'disk:ssd':"),
    ],
)
def test_a_malformed_node_selector_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse_node_label(text)


@pytest.mark.parametrize(
    ("text", "toleration"),
    [
        ("gpu:NoSchedule", Toleration(key="gpu", value=None, effect="NoSchedule")),
        ("a.io/b=c:NoExecute", Toleration(key="a.io/b", value="c", effect="NoExecute")),
        ("a=:PreferNoSchedule", Toleration(key="a", value="", effect="PreferNoSchedule")),
    ],
)
def test_a_toleration_is_read(text: str, toleration: Toleration) -> None:
    assert parse_toleration(text) == toleration


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gpu", "toleration is 'gpu': give key[=value]:Effect"),
        ("gpu:noschedule", "toleration is 'gpu:noschedule':"),
        ("gpu=a:", "toleration is 'gpu=a:':"),
        (":NoSchedule", "the key of the toleration is '':"),
        ("a:b=c:NoSchedule", "the key of the toleration is 'a:b':"),
        ("a=b c:NoSchedule", "the value of the toleration a is 'b c':"),
    ],
)
def test_a_malformed_toleration_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse_toleration(text)


@pytest.mark.parametrize(
    "quantity",
    ["1", "0.5", "500m", "64", "+1", ".5", "2.", "1e3", "5E-1", "0.001", "1k", "1.0005k"],
)
def test_a_number_of_cpus_is_accepted(quantity: str) -> None:
    check_cpu("CPU", quantity)


@pytest.mark.parametrize("quantity", ["", "0", "0m", "0.0", "-1", "1.5m", "4 ", "4\n", "x"])
def test_what_is_no_number_of_cpus_is_refused(quantity: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"CPU is {quantity!r}: give a number of")):
        check_cpu("CPU", quantity)


@pytest.mark.parametrize(
    "quantity",
    [
        "16G",
        "512Mi",
        "1000000",
        "1Ti",
        "1.5Gi",
        "1e9",
        "1E",
        "1000000k",
        "2.5E9",
        "5000000000m",
        "1.1Gi",
    ],
)
def test_an_amount_of_memory_is_accepted(quantity: str) -> None:
    check_memory("memory", quantity)


@pytest.mark.parametrize(
    "quantity",
    [
        "",
        "0",
        "0Gi",
        "16GB",
        "-1G",
        "16 G",
        "16g",
        "G",
        "16",
        "400m",
        "16K",
        "9e99",
        "1e999",
    ],
)
def test_what_is_no_amount_of_memory_is_refused(quantity: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"memory is {quantity!r}: give an amount")):
        check_memory("memory", quantity)


@pytest.mark.parametrize(
    ("quantity", "plain"),
    [
        ("4", "4"),
        ("0.5", "0.5"),
        ("500m", "500m"),
        (".5", "500m"),
        ("+1", "1000m"),
        ("1e1", "10000m"),
    ],
)
def test_cpus_are_written_so_that_kfp_takes_them(quantity: str, plain: str) -> None:
    check_cpu("CPU", quantity)
    assert plain_cpu(quantity) == plain


@pytest.mark.parametrize(
    ("quantity", "plain"),
    [
        ("16G", "16G"),
        ("512Mi", "512Mi"),
        ("1000000", "1000000"),
        ("1.5Gi", "1610612736"),
        ("1000000k", "1000000000"),
        ("1e9", "1000000000"),
        ("4096Ki", "4096Ki"),
        ("+16G", "16000000000"),
    ],
)
def test_memory_is_written_so_that_kfp_takes_it(quantity: str, plain: str) -> None:
    check_memory("memory", quantity)
    assert plain_memory(quantity) == plain


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    for read in (parse_node_label, parse_toleration):
        message = ""
        try:
            read(text)
        except ConfigError as error:
            message = str(error)
        assert len(message.splitlines()) <= 1
