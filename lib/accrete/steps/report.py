"""The last step of a pipeline: the report of a run, or of a sweep."""

from pathlib import Path

from accrete.catalog.records import parse_record, parse_sweep_record
from accrete.errors import IntegrityError
from accrete.steps.frame import Attempt, StepContext, one_line_errors, run_attempt
from accrete.steps.training_task import read_stage
from accrete.store import keys


def report_step(
    *,
    run_name: str,
    store_uri: str,
    plan_path: str,
    model_path: str,
    html_path: str,
    json_path: str,
) -> dict[str, float]:
    """Write the report of a finished run to the artifacts and to the store.

    Args:
        run_name: the run.
        store_uri: `s3://bucket[/prefix]`.
        plan_path: the run's record.
        model_path: manifest of the last stage.
        html_path: where the page goes.
        json_path: where the figures go.

    Returns:
        Headline figures.
    """
    from accrete.reports.run_page import render_report
    from accrete.reports.run_report import assemble_report, report_json

    def work(context: StepContext) -> dict[str, float]:
        record = parse_record(Path(plan_path).read_bytes(), plan_path)
        last = read_stage(model_path)
        if last is None or last.digest != record.stages[-1]:
            raise IntegrityError(f"{model_path} is not the last stage of run {run_name!r}")
        report = assemble_report(record, context.catalog, context.cache)
        page = render_report(report).encode()
        figures = report_json(report)
        Path(html_path).write_bytes(page)
        Path(json_path).write_bytes(figures)
        store = context.catalog.store
        store.write_note(keys.report_key(run_name, "report.html"), page)
        store.write_note(keys.report_key(run_name, "report.json"), figures)
        if report["class_changes"] is not None:
            context.journal.result(report["class_changes"]["summary"])
        context.journal.result(f"report: {store.uri(keys.report_key(run_name, 'report.html'))}")
        return {
            "top1": report["totals"]["top1"] or 0.0,
            "images_seen": float(report["totals"]["images_seen"]),
            "train_s": report["totals"]["train_s"],
        }

    with one_line_errors():
        step = keys.report_step_name()
        return run_attempt(Attempt(run_name=run_name, step=step, store_uri=store_uri), work)


def sweep_report_step(
    *, run_name: str, store_uri: str, plan_path: str, html_path: str, json_path: str
) -> dict[str, float]:
    """Write the report of a finished sweep to the artifacts and to the store.

    Args:
        run_name: the sweep.
        store_uri: `s3://bucket[/prefix]`.
        plan_path: the sweep's record.
        html_path: where the page goes.
        json_path: where the figures go.

    Returns:
        Headline figures.
    """
    from accrete.reports.sweep_report import make_sweep_report

    def work(context: StepContext) -> dict[str, float]:
        record = parse_sweep_record(Path(plan_path).read_bytes(), plan_path)
        made = make_sweep_report(record, context.catalog, context.cache)
        files = {Path(html_path): "report.html", Path(json_path): "report.json"}
        store = context.catalog.store
        for name, data in made.files.items():
            store.write_note(keys.report_key(run_name, name), data)
        for path, name in files.items():
            path.write_bytes(made.files[name])
        for line in made.lines:
            context.journal.result(line)
        context.journal.result(f"report: {store.uri(keys.report_key(run_name, 'report.html'))}")
        return made.headline

    with one_line_errors():
        step = keys.report_step_name()
        return run_attempt(Attempt(run_name=run_name, step=step, store_uri=store_uri), work)
