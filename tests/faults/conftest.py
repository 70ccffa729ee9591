"""The workshop that scenarios are tried in, on the session's store."""

from collections.abc import Iterator

import pytest
from scenarios import Workshop

from accrete.settings import StoreSettings


@pytest.fixture(scope="session")
def workshop(
    store_settings: StoreSettings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workshop]:
    """Its undisturbed run and its warm processes are made when the first test wants them."""
    with Workshop(store_settings, tmp_path_factory.mktemp("faults")) as made:
        yield made
