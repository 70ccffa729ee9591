"""What is no label: a value of its own for nearly every image. Pure."""

from collections.abc import Sequence

from accrete.data.sources.names import shown
from accrete.errors import SourceError

_MIN_IMAGES_TO_TELL = 20
"""So many images of as many classes are no classes."""


def check_is_label(
    what: str,
    classes: Sequence[str],
    num_images: int,
    *,
    is_usual: bool,
    others: Sequence[str],
    unit: str = "rows",
) -> None:
    """Refuse a label that has a value of its own for nearly every image.

    Args:
        what: was taken for the label, for the error: `label column 'id'`.
        classes: different values of it.
        num_images: that have one.
        is_usual: whether it was given or has a usual name: then only all different values tell;
            else more than half of them do.
        others: that may be given in its place.
        unit: what images are called where they are.

    Raises:
        SourceError: names what to choose from.
    """
    limit = num_images if is_usual else num_images // 2 + 1
    if num_images < _MIN_IMAGES_TO_TELL or len(classes) < limit:
        return
    rest = f"one of {', '.join(others[:8])}" if others else "another one"
    raise SourceError(
        f"{what} has {len(classes):,} classes in {num_images:,} {unit} "
        f"({shown(list(classes), 2)}), so it is no label: choose {rest} with --label-column"
    )
