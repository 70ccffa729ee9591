"""Weights from files, as options name them; torch is imported only where one is named."""

from typing import TYPE_CHECKING

from accrete.cli._options import WeightsOptions
from accrete.config.image_format import Normalization
from accrete.config.known_networks import check_network
from accrete.config.run import ModelConfig
from accrete.core.options import Given, option_fields
from accrete.errors import ConfigError

if TYPE_CHECKING:
    from accrete.models.backbone import Backbone


def backbone_of(given: Given[WeightsOptions], model: Given[ModelConfig]) -> "Backbone | None":
    """Return the trained trunk that options name, read and checked; None: they name none.

    Args:
        given: what the user says of the weights.
        model: what the user says of the network; an exported file says it itself, so that
            variables, which hold for all commands, have no say beside it.

    Raises:
        InputError, IntegrityError, CheckpointMismatchError: it cannot be used.
    """
    options = given.alone()
    if options.weights is None:
        return None
    normalization = scaling_in(options.weights_mean, options.weights_std)
    asked = model.alone() if "name" in model else None
    if asked is not None:
        check_network(asked.name)
    from accrete.models.backbone import BackboneRequest, read_backbone
    from accrete.training.device import on_one_thread

    request = BackboneRequest(
        path=options.weights,
        sha256=options.weights_sha256,
        model=asked,
        normalization=normalization,
    )
    with on_one_thread():  # a run on this machine is forked from this process
        backbone = read_backbone(request)
    for each in option_fields(ModelConfig):
        own = getattr(backbone.model, each.name)
        if each.name in model.typed and model.values[each.name] != own:
            raise ConfigError(
                f"weights {options.weights} say themselves what they are of, and it is --"
                f"{each.flag} {own}: leave out --{each.flag}"
            )
    return backbone


def stored_backbone(backbone: "Backbone", store_uri: str) -> ModelConfig:
    """Store a trunk where a run's steps find it; return the network that begins from it.

    Raises:
        ConfigError: the environment names no store.
        StoreError: the store does not take it.
    """
    from accrete.models.backbone import store_backbone
    from accrete.store.object_store import ObjectStore
    from accrete.training.device import on_one_thread

    try:
        store = ObjectStore.open(store_uri)
    except ConfigError as error:
        raise ConfigError(
            f"weights {backbone.origin} go to the store that the run's steps have ({error})"
        ) from None
    store.check()
    with on_one_thread():
        return store_backbone(backbone, store)


def scaling_in(mean: str | None, std: str | None) -> Normalization | None:
    """Return what weights' input was scaled by, as two options say; None: neither does.

    Raises:
        ConfigError: one is missing, or is no three numbers above 0, at most 1.
    """
    if mean is None and std is None:
        return None
    if mean is None or std is None:
        raise ConfigError("--weights-mean and --weights-std go together: give both")
    return Normalization(mean=_three(mean, "weights mean"), std=_three(std, "weights std"))


def _three(text: str | None, what: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in (text or "").split(","))
    except ValueError:
        values = ()
    if len(values) != 3 or not all(0 < value <= 1 for value in values):
        raise ConfigError(f"{what} is {text!r}: give three numbers of 0..1, as 0.485,0.456,0.406")
    return values
