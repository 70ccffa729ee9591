"""The command of the extension pipeline: add classes to a model that is trained already."""

from pathlib import Path
from typing import Any

import click
from click_option_group import optgroup

from accrete.extend_request import make_extension
from accrete.options import (
    recipe_options,
    run_options,
    source_options,
    where_options,
)
from accrete.pipeline_file import Build
from accrete.placement_options import placement_options
from accrete.run_command import ENV_PREFIX, execute


def extend_command(build: Build) -> click.Command:
    """Return the command that runs the extension pipeline's file."""

    @click.command(name="extend", context_settings={"auto_envvar_prefix": ENV_PREFIX})
    @click.argument("base", required=False, metavar="[RUN]")
    @optgroup.group("Model to extend")
    @optgroup.option("--stage", type=int, metavar="J", help="Stage J of RUN. [default: the last]")
    @optgroup.option(
        "--weights",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Weights from elsewhere: what `accrete export` wrote, or a torchvision state file.",
    )
    @optgroup.option(
        "--weights-classes",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Class names of a state file, one a line, in the order of its outputs.",
    )
    @optgroup.option(
        "--weights-sha256", metavar="HEX", help="SHA-256 of the file; a pickle is not read without."
    )
    @optgroup.option("--model", metavar="NAME", help="Network of a state file: torchvision:NAME.")
    @optgroup.option(
        "--weights-mean",
        metavar="R,G,B",
        help="What its input was scaled by. [default: ImageNet's]",
    )
    @optgroup.option("--weights-std", metavar="R,G,B", help="Likewise. [default: ImageNet's]")
    @optgroup.option(
        "--old-dataset",
        metavar="DIGEST",
        help="Stored data set with the images of the weights' classes. [default: in the source]",
    )
    @optgroup.group("Classes to add")
    @optgroup.option(
        "--more-images",
        is_flag=True,
        help="The source may have more images of classes that the model has.",
    )
    @optgroup.option(
        "--stages", metavar="LIST", help="Add the new classes in stages of so many. [default: one]"
    )
    @source_options
    @recipe_options
    @run_options
    @where_options
    @placement_options
    def extend(**options: Any) -> None:
        """Add classes to a trained model: RUN's, or weights from a file.

        The old classes' shards are taken from the store as they are; the new images are scaled and
        normalized as the model was trained. The fast recipe gets a schedule of its own here: half
        the rate, and 2 epochs over old and new images unless --budget-epochs says otherwise.

        \b
        Examples:
          accrete extend my-run --source imagefolder --data new-classes/
          accrete extend --weights resnet18.pth --weights-sha256 f37072fd… \\
            --weights-classes names.txt --model torchvision:resnet18 \\
            --source imagefolder --data all-classes/
        """
        execute(build, make_extension, options)

    return extend
