"""Sweep report: what several runs over one data set came to, as one page and as JSON."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, Input, Metrics, Output

from accrete.config.placement import DEFAULT_IMAGE


@dsl.component(base_image=DEFAULT_IMAGE, install_kfp_package=False)
def sweep_report(
    run_name: str,
    store_uri: str,
    plan: Input[Artifact],
    page: Output[HTML],
    figures: Output[Artifact],
    metrics: Output[Metrics],
):
    """Read the stages of every cell and write what came of them.

    Args:
        run_name: Name of the sweep in the object store.
        store_uri: s3://bucket[/prefix] of shards, checkpoints and manifests.
        plan: The sweep's record.
        page: report.html.
        figures: report.json.
        metrics: Headline figures.
    """
    from accrete.steps.report import sweep_report_step

    headline = sweep_report_step(
        run_name=run_name,
        store_uri=store_uri,
        plan_path=plan.path,
        html_path=page.path,
        json_path=figures.path,
    )
    for name, value in headline.items():
        metrics.log_metric(name, value)
