"""Which files of a set of tables are which split, and its configurations."""

import pytest

from accrete.data.sources.hub import choose_files
from accrete.errors import SourceError


def splits_of(*names: str, **options: str | None) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for split, name in choose_files(names, "DATA", **options).entries:  # type: ignore[arg-type]
        found.setdefault(split, []).append(name)
    return found


@pytest.mark.parametrize(
    "names",
    [
        ("train.parquet", "test.parquet"),
        ("data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"),
        ("my_train_file.parquet", "my_test_file.parquet"),
        ("mnist-train.parquet", "mnist-eval.parquet"),
        ("train/0.parquet", "test/0.parquet"),
        ("default/train/0000.parquet", "default/test/0000.parquet"),
        ("split=train/part-0.parquet", "split=test/part-0.parquet"),
        ("a/training_data/b/0.parquet", "a/testing_data/b/0.parquet"),
        ("2024/train1.parquet", "2024/test1.parquet"),
        ("Train.parquet", "TEST.parquet"),
        ("cifar10.train.parquet", "cifar10.test.parquet"),
        ("v1.0-train-00000-of-00001.parquet", "v1.0-test-00000-of-00001.parquet"),
        ("train/a.parquet", "test.parquet"),
    ],
)
def test_keywords_in_any_part_of_a_path_are_splits(names: tuple[str, str]) -> None:
    assert splits_of(*names) == {"train": [names[0]], "test": [names[1]]}


def test_folders_tell_before_names_do() -> None:
    names = ("train/test_people.parquet", "test/train_stations.parquet")
    assert splits_of(*names) == {"train": [names[0]], "test": [names[1]]}


@pytest.mark.parametrize("names", [("part-0.parquet", "part-1.parquet"), ("x.parquet",)])
def test_without_any_keyword_all_is_for_training(names: tuple[str, ...]) -> None:
    assert splits_of(*names) == {"train": list(names)}


def test_words_that_hold_a_keyword_are_none() -> None:
    names = ("strain.parquet", "latest.parquet", "interval.parquet")
    assert splits_of(*names) == {"train": sorted(names)}


def test_a_split_of_another_name_is_left_out_and_told() -> None:
    names = ("train-00000-of-00001.parquet", "unsupervised-00000-of-00002.parquet")
    chosen = choose_files(names, "DATA")
    assert chosen.entries == (("train", names[0]),)
    assert [(file.place, file.reason) for file in chosen.left_out] == [
        (names[1], "split unsupervised")
    ]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("train.parquet", "extra.parquet"), r"extra\.parquet lies beside files of spl.*exclude"),
        (("test.parquet", "val.parquet"), "files to test and validation, but none to train on"),
        (("x_train_test.parquet", "y_train_test.parquet"), "has words of several splits in its"),
        (("a/test-00000-of-00001.parquet",), "files to test, but none to train on"),
        (("en/train/0.parquet", "fr/train/0.parquet"),
         r"two ways: 2 configurations \(en, fr\).*--config all"),
        (("en/train-0.parquet", "en/test-0.parquet", "fr/train-0.parquet"), "2 configurations"),
    ],
)  # fmt: skip
def test_what_could_be_two_things_is_refused(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        choose_files(names, "DATA")


def test_a_configuration_in_a_folder_is_chosen_by_name() -> None:
    names = ("en/train/0.parquet", "en/test/0.parquet", "fr/train/0.parquet")
    assert splits_of(*names, subset="en") == {"train": [names[0]], "test": [names[1]]}
    assert splits_of(*names, subset="all") == {"train": [names[0], names[2]], "test": [names[1]]}
    with pytest.raises(SourceError, match=r"--config is 'de', but DATA has none .* en, fr"):
        choose_files(names, "DATA", subset="de")
    with pytest.raises(SourceError, match="it has one only"):
        choose_files(names[:2], "DATA", subset="de")


def test_one_file_that_is_given_by_itself_is_for_training() -> None:
    assert choose_files(["test.parquet"], "DATA", is_alone=True).entries == (
        ("train", "test.parquet"),
    )


def test_a_split_s_folder_may_have_a_name_of_its_own() -> None:
    names = ("train/data-00000-of-00001.arrow", "extra/data-00000-of-00001.arrow")
    chosen = choose_files(names, "DATA")
    assert [(file.place, file.reason) for file in chosen.left_out] == [(names[1], "split extra")]


def test_a_configuration_may_be_a_folder_alone() -> None:
    readme = b"\xef\xbb\xbf---\nconfigs:\n- {config_name: a, data_dir: a}\n---\n"
    names = ("a/train.parquet", "a/test.parquet", "b/train.parquet")
    assert splits_of(*names, readme=readme) == {"train": [names[0]], "test": [names[1]]}


def test_a_readme_names_classes_without_configurations() -> None:
    readme = b"---\ndataset_info:\n  config_name: x\n  features:\n  - name: label\n    dtype:\n"
    readme += b"      class_label: {names: {'0': ant, '1': bee}}\n---\n"
    assert choose_files(FILES, "DATA", readme=readme).class_names == {"label": ("ant", "bee")}


def test_a_readme_that_cannot_be_read_is_told() -> None:
    chosen = choose_files(["train.parquet", "test.parquet"], "DATA", readme=b"---\n{[\n---\n")
    assert "YAML of README.md cannot be read" in chosen.notes[0]


README = """---
license: mit
configs:
- config_name: small
  data_files:
  - split: train
    path: data/small-*.parquet
- config_name: large
  default: true
  data_files:
  - split: train
    path: ["data/large-[01]*.parquet", "more/**/*.parquet"]
  - split: test
    path: data/check.parquet
  - split: unlabeled
    path: data/u.parquet
- config_name: elsewhere
  data_files: other/*.csv
dataset_info:
- config_name: large
  features:
  - name: label
    dtype:
      class_label:
        names:
          '1': dog
          '0': cat
---
# A set
"""
FILES = (
    *("data/small-0.parquet", "data/large-0.parquet", "data/large-1.parquet"),
    *("data/check.parquet", "data/u.parquet", "more/a/b.parquet"),
)


def test_a_readme_s_configurations_decide() -> None:
    readme = README.encode()
    assert splits_of(*FILES, subset="small", readme=readme) == {"train": [FILES[0]]}
    chosen = choose_files(FILES, "DATA", readme=readme)
    assert chosen.entries == (
        ("test", "data/check.parquet"),
        ("train", "data/large-0.parquet"),
        ("train", "data/large-1.parquet"),
        ("train", "more/a/b.parquet"),
    )
    assert chosen.class_names == {"label": ("cat", "dog")}
    assert {file.place: file.reason for file in chosen.left_out} == {
        "data/u.parquet": "split unlabeled",
        "data/small-0.parquet": "another config",
    }
    assert any("other configurations are small" in note for note in chosen.notes)
    with pytest.raises(SourceError, match="it has large, small"):
        choose_files(FILES, "DATA", subset="elsewhere", readme=readme)


def test_several_configurations_without_a_default_are_refused_by_name() -> None:
    readme = README.replace("  default: true\n", "").encode()
    with pytest.raises(SourceError, match="2 configurations: choose one of small, large with --c"):
        choose_files(FILES, "DATA", readme=readme)


@pytest.mark.parametrize(
    "head",
    [
        b"---\n{[\n---\n",
        b"---\nconfigs: 5\n---\n",
        b"---\nconfigs:\n- data_files: nowhere/*\n---",
        b"---\n- a\n---\n",
        b"# no YAML",
        b"---\nconfigs:\n- {config_name: x, data_files: 3}\n---\n",
        b"---\ndataset_info:\n  features:\n  - {name: label, dtype: {class_label: {names: {x: 1}}}}"
        b"\nconfigs:\n- data_files: '*.parquet'\n---\n",
        b"---\n" + b"[" * 5000,
    ],
)
def test_a_readme_that_says_nothing_of_use_is_passed_over(head: bytes) -> None:
    assert splits_of("train.parquet", readme=head) == {"train": ["train.parquet"]}
