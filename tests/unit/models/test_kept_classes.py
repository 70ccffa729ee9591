"""A network that forgets classes answers for the others as before."""

import pytest
import torch
from model_sample import CLASS_NAMES, make_trained

from accrete.errors import ConfigError
from accrete.models.kept_classes import keep_classes

pytestmark = pytest.mark.usefixtures("one_thread")


def test_kept_classes_are_answered_for_as_before() -> None:
    trained = make_trained()
    kept = keep_classes(trained, [CLASS_NAMES[2], CLASS_NAMES[0]])
    assert kept.manifest.class_names == (CLASS_NAMES[0], CLASS_NAMES[2])
    image = trained.manifest.image
    images = torch.randn(3, image.channels, image.height, image.width)
    with torch.no_grad():
        before, after = trained.network(images), kept.network(images)
    torch.testing.assert_close(after, before[:, [0, 2]])
    assert torch.equal(kept.network.head.weight, trained.network.head.weight[[0, 2]])
    assert trained.manifest.class_names == CLASS_NAMES


@pytest.mark.parametrize(
    ("names", "words"),
    [(["nothing"], "'nothing', which the model does not have"), ([CLASS_NAMES[0]] * 2, "twice")],
)
def test_classes_that_cannot_be_kept_are_refused(names: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        keep_classes(make_trained(), names)
