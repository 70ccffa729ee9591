"""Makes the bucket of a store that we start ourselves: `python -m accrete.bucket`."""

from accrete.settings import default_store_uri, parse_store_uri, require_store_settings
from accrete.step_frame import one_line_errors
from accrete.store import ObjectStore


def main() -> None:
    """Make the bucket where it does not exist."""
    with one_line_errors():
        store = ObjectStore(require_store_settings(), parse_store_uri(default_store_uri()))
        store.create_bucket()
        store.check()
    print(f"{store.address} at {store.settings.endpoint}")  # noqa: T201  the Job's log


if __name__ == "__main__":
    main()
