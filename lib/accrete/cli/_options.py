"""The options of commands: what is no field of a run's configuration, and the groups of all."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from accrete.cli._adapter import Group
from accrete.config.extension import REPLAY
from accrete.config.packing import IMAGES_PER_SECOND, Packing
from accrete.config.placement import Placement
from accrete.config.recipe import PAPER, RECIPES, Recipe
from accrete.config.run import ModelConfig, SourceConfig
from accrete.core.options import Given, Option
from accrete.core.validation import check_range
from accrete.runners.kubeflow.access import Access
from accrete.runners.pipeline_file import PipelineRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """Which classes each stage adds; one of alpha, step and stages."""

    alpha: Annotated[
        str | None,
        Option(
            "Growth ratio: each stage adds this many times the images seen so far; "
            "auto: the stages of least expected cost.",
            metavar="RATIO",
            default="1",
            excludes=("step", "stages"),
        ),
    ] = None
    initial: Annotated[
        int | None,
        Option("Classes of the first stage.", default="a tenth, at least 2", excludes=("stages",)),
    ] = None
    step: Annotated[
        int | None,
        Option(
            "Add N classes in every stage instead of growing by --alpha.",
            excludes=("stages",),
        ),
    ] = None
    stages: Annotated[
        str | None,
        Option(
            "Classes of each stage instead, e.g. 10,10,20,40,20.",
            metavar="LIST",
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassOptions:
    """The order of the classes, and where their counts come from."""

    class_order: Annotated[
        Path | None, Option("Class names in order, one a line.", default="random by --order-seed")
    ] = None
    order_seed: Annotated[int, Option("Seed of the class order.", excludes=("class-order",))] = 0
    counts: Annotated[
        Path | None,
        Option(
            'Plan from a JSON file {"class": training images} instead of the source.',
            excludes=("dataset",),
        ),
    ] = None
    dataset: Annotated[
        str | None,
        Option(
            "Plan from a data set that is in the store already.",
            metavar="DIGEST",
        ),
    ] = None


_FOR_AUTO = ("alpha", ("auto",))


@dataclass(frozen=True, slots=True, kw_only=True)
class CostOptions:
    """What stages cost, for the plan of least cost and for plans side by side."""

    costs: Annotated[
        Path | None,
        Option("Measured stages, as `accrete study` writes them.", default="the paper's Table I"),
    ] = None
    stage_seconds: Annotated[
        float,
        Option(
            "What a stage costs beside training: pod start, pull, compile, push; seconds.",
            metavar="S",
            needs=(_FOR_AUTO, ("costs", ())),
        ),
    ] = 0.0
    images_per_second: Annotated[
        float,
        Option(
            "Training speed: sets --stage-seconds and --step-overhead against images.",
            metavar="R",
        ),
    ] = IMAGES_PER_SECOND
    max_stages: Annotated[
        int | None, Option("Most stages of --alpha auto.", needs=(_FOR_AUTO,))
    ] = None
    min_classes: Annotated[
        int, Option("Least classes that a stage of --alpha auto adds.", needs=(_FOR_AUTO,))
    ] = 1


_FOR_WEIGHTS = (("weights", ()),)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsOptions:
    """Trained weights that a run begins from."""

    weights: Annotated[
        Path | None,
        Option(
            "Trained weights that the first stage begins from, without their head and classes: "
            "what `accrete export` wrote, torchvision's or timm's state file, or a backbone. (With "
            "its classes a model goes on by `accrete extend --weights`.)",
            default="random weights",
        ),
    ] = None
    weights_sha256: Annotated[
        str | None,
        Option(
            "SHA-256 of the file; a pickle is not read without.",
            metavar="HEX",
            needs=_FOR_WEIGHTS,
        ),
    ] = None
    weights_mean: Annotated[
        str | None,
        Option(
            "Mean that the weights' input was scaled by; so are the images.",
            metavar="R,G,B",
            default="ImageNet's, or the file's own",
            needs=_FOR_WEIGHTS,
        ),
    ] = None
    weights_std: Annotated[
        str | None,
        Option(
            "Likewise, the standard deviation.",
            metavar="R,G,B",
            default="ImageNet's, or the file's own",
            needs=_FOR_WEIGHTS,
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedOption:
    """How fast training is, where nothing but packing needs to know."""

    images_per_second: Annotated[
        float,
        Option(
            "Training speed: sets --step-overhead against images.",
            metavar="R",
            on_cluster=True,
        ),
    ] = IMAGES_PER_SECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedOption:
    """RunConfig's seed."""

    seed: Annotated[int, Option("Seed of weights, sample order and augmentation.")] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointOptions:
    """Kubeflow, and what lets us in."""

    endpoint: Annotated[
        str | None,
        Option(
            "Kubeflow Pipelines API, or the address of its UI, that runs are submitted to.",
            metavar="URL",
            default="$KFP_ENDPOINT, else run here",
        ),
    ] = None
    namespace: Annotated[
        str | None,
        Option(
            "Namespace (profile) of the run, where Kubeflow has several users.",
            on_cluster=True,
            default="kfp's context, or the pod's own",
        ),
    ] = None
    token_file: Annotated[
        Path | None,
        Option(
            "Bearer token for what guards the API; read anew when it changes.",
            on_cluster=True,
            default="$KFP_TOKEN, or what kfp finds",
        ),
    ] = None
    cookie_file: Annotated[
        Path | None,
        Option(
            "Cookie of a login there: name=value, or a browser's cookies.txt.",
            on_cluster=True,
            default="$KFP_COOKIE, or kfp's context",
        ),
    ] = None
    endpoint_ca: Annotated[
        Path | None,
        Option(
            "CA certificates of the API, in PEM.",
            on_cluster=True,
            default="$REQUESTS_CA_BUNDLE, $SSL_CERT_FILE, or the system's",
        ),
    ] = None

    @property
    def access(self) -> Access:
        """What lets us in."""
        return Access(
            namespace=self.namespace,
            token_file=self.token_file,
            cookie_file=self.cookie_file,
            endpoint_ca=self.endpoint_ca,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WhereOptions(EndpointOptions):
    """Here, or on a cluster."""

    runner: Annotated[
        str,
        Option(
            "Here: run each step as a process, or in a container of --image.",
            choices=("subprocess", "docker"),
        ),
    ] = "subprocess"
    experiment: Annotated[str, Option("KFP experiment.", on_cluster=True)] = "accrete"
    watch: Annotated[bool, Option("Follow the run to its end.", on_cluster=True)] = False
    resubmit: Annotated[
        int,
        Option(
            "Submit the run again, so many times at most, where the cluster ended it: a node, pod "
            "or store was lost, memory ran out. It goes on from what is stored.",
            needs=(("watch", ()),),
            on_cluster=True,
        ),
    ] = 0

    def __post_init__(self) -> None:
        check_range("number of resubmissions", self.resubmit, 0, 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotOption:
    """A toleration by a name of its own."""

    spot: Annotated[
        bool, Option("Tolerate the taints of spot nodes on GKE and AKS too.", on_cluster=True)
    ] = False


RECIPE_TITLE = "Recipe (how it is trained)"
_RECIPES = Group(RECIPE_TITLE, RECIPES)
_EXTENSION_DEFAULTS = {
    "budget_epochs": "fast 2, at least 120 optimizer steps; with --until 45; paper 300",
    "lr": f"fast 0.05 times the epochs, at most {Recipe().lr}; paper {PAPER.lr}",
    "replay": f"fast {REPLAY}, paper 1",
    "head_init": "fast means, paper random",
}
_CLUSTER = Group("Cluster (what each step asks for)")

Planning = Annotated[PlanOptions, Group("Plan (which classes each stage adds)")]
Classes = Annotated[ClassOptions, Group("Classes (their order and counts)")]
Costs = Annotated[Given[CostOptions], Group("Cost (for --alpha auto and the comparison)")]
Source = Annotated[Given[SourceConfig], Group("Source (the images)")]
Model = Annotated[Given[ModelConfig], Group("Model")]
Weights = Annotated[Given[WeightsOptions], Group("Model")]
RecipeGiven = Annotated[Given[Recipe], _RECIPES]
ExtensionRecipe = Annotated[Given[Recipe], Group(RECIPE_TITLE, RECIPES, _EXTENSION_DEFAULTS)]
Seed = Annotated[SeedOption, Group(RECIPE_TITLE)]
Naming = Annotated[Given[PipelineRequest], Group("Run")]
Where = Annotated[Given[WhereOptions], Group("Where")]
Cluster = Annotated[Given[Placement], _CLUSTER]
Packed = Annotated[Given[Packing], _CLUSTER]
Speed = Annotated[Given[SpeedOption], _CLUSTER]
Spot = Annotated[Given[SpotOption], _CLUSTER]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileOptions:
    """What a staged run is, and what its steps ask for."""

    plan: Planning
    classes: Classes
    costs: Costs
    source: Source
    model: Model
    weights: Weights
    recipe: RecipeGiven
    seed: Seed
    naming: Naming
    cluster: Cluster
    packing: Packed
    spot: Spot


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions(CompileOptions):
    """The same, and where it runs."""

    where: Where


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusOptions:
    """Where a run may be that has not begun."""

    where: Annotated[Given[EndpointOptions], Group("Where")]
