"""Image files of many sizes and kinds, as people have them."""

from pathlib import Path

from PIL import Image


def odd_files(folder: Path, picture: Path) -> list[str]:
    """Return names of image files of many sizes and kinds, made from a picture."""
    grey = Image.open(picture).convert("L")
    large = grey.resize((80, 96), Image.Resampling.BICUBIC)
    colours = Image.merge("RGB", (large, large.transpose(Image.Transpose.ROTATE_180), large))
    turned = Image.Exif()
    turned[0x0112] = 6
    half = Image.linear_gradient("L").resize(large.size)
    shapes = {
        "as-it-is.png": grey,
        "small.png": grey.resize((5, 6)),
        "wide.png": large.resize((200, 30)),
        "tall.jpg": colours.resize((31, 140)),
        "colours.png": colours,
        "palette.gif": colours.quantize(16),
        "faded.png": Image.merge("RGBA", (*colours.split(), half)),
        "grey-faded.png": Image.merge("LA", (large, half)),
    }
    for name, image in shapes.items():
        image.save(folder / name)
    colours.save(folder / "turned.jpg", exif=turned)
    return [*shapes, "turned.jpg"]
