"""Report: the run's figures as one self-contained page and as JSON."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, Input, Metrics, Model, Output

from accrete.config.placement import DEFAULT_IMAGE


@dsl.component(base_image=DEFAULT_IMAGE, install_kfp_package=False)
def report(
    run_name: str,
    store_uri: str,
    plan: Input[Artifact],
    model: Input[Model],
    page: Output[HTML],
    figures: Output[Artifact],
    metrics: Output[Metrics],
):
    """Walk the chain of stages and write what came of it.

    Args:
        run_name: Name of the run in the object store.
        store_uri: s3://bucket[/prefix] of shards, checkpoints and manifests.
        plan: The run's record.
        model: Manifest of the last stage.
        page: report.html.
        figures: report.json.
        metrics: Final top-1, images seen, seconds of training.
    """
    from accrete.steps.report import report_step

    headline = report_step(
        run_name=run_name,
        store_uri=store_uri,
        plan_path=plan.path,
        model_path=model.path,
        html_path=page.path,
        json_path=figures.path,
    )
    for name, value in headline.items():
        metrics.log_metric(name, value)
