"""The first step of a pipeline that recurs: look for what has come."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accrete.catalog.catalog import Catalog
from accrete.catalog.plans import read_plan, store_plan
from accrete.config.arrivals import Watch
from accrete.config.planned import planned_argument, split_config
from accrete.core.serialization import from_json
from accrete.core.settings import cache_path
from accrete.monitoring.journal import print_line
from accrete.steps.frame import one_line_errors
from accrete.store.cache import NodeCache
from accrete.store.object_store import ObjectStore, outages_told_by


def look_step(
    *,
    watch: Mapping[str, Any],
    store_uri: str,
    arrived_path: str,
    run_name_path: str,
    config_path: str,
    planned_path: str,
) -> None:
    """Look once, and say which run is to be trained; it has no journal: there may be no run.

    Args:
        watch: a Watch as JSON, or the reference to it.
        store_uri: `s3://bucket[/prefix]`.
        arrived_path: gets `yes` or `no`.
        run_name_path: gets the run's name.
        config_path: gets what may be edited of its configuration, as JSON.
        planned_path: gets what is planned, or the reference to it.
    """
    from accrete.data.arrivals import Viewpoint, look_for_arrival

    with one_line_errors():
        store = ObjectStore.open(store_uri)
        store.told_by(_say)
        store.check()
        store.prove_create_only()
        asked = from_json(Watch, read_plan(watch, store), "watch")
        viewpoint = Viewpoint(
            catalog=Catalog(store),
            cache=NodeCache(cache_path(), store),
            say=_say,
            meter=lambda _total: lambda _done: None,
        )
        with outages_told_by(_say):  # of the source's own store
            record = look_for_arrival(asked, viewpoint)
        editable: dict[str, Any] = {}
        planned: dict[str, Any] = {}
        if record is not None:
            editable, planned = split_config(record.config)
            store_plan(planned, store)
            _say(f"run {record.name} trains on what has come")
        Path(arrived_path).write_text("no" if record is None else "yes")
        Path(run_name_path).write_text("" if record is None else record.name)
        Path(config_path).write_text(json.dumps(editable))
        Path(planned_path).write_text(json.dumps(planned_argument(planned)))


def _say(line: str) -> None:
    print_line(line)
