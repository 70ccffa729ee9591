"""A report's file: what a program reads, of any number of classes."""

import json

from report_sample import make_report

from accrete.reports.run_report import MAX_CONFUSED, report_json


def test_a_confusion_matrix_of_too_many_classes_is_left_out_of_the_file_alone() -> None:
    report = make_report([2, MAX_CONFUSED - 2, 1], num_test_images=1)
    report["stages"][2]["confusion"] = [[0]]  # whatever it is
    found = json.loads(report_json(report))
    assert [stage["confusion"] is None for stage in found["stages"]] == [False, False, True]
    assert report["stages"][2]["confusion"] == [[0]]
    for stage in (*found["stages"], *report["stages"]):
        del stage["confusion"]
    assert found == report
