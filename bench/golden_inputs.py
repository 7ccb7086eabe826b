"""The small files that the golden commands work on: pictures of scikit-image's photographs, weights drawn from a seed.

The same call writes the same bytes again, on one machine with one set of packages.
"""

import pickle
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import skimage.data
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image, ImageCms
from PIL.ExifTags import IFD, Base

Levels = NDArray[np.uint8]


def crop(picture: Levels, top: int, left: int, side: int, width: int, height: int) -> Image.Image:
    """A part of a photograph, `side` pixels high and as wide in proportion, shrunk to `width` x `height`."""
    part = Image.fromarray(picture[top : top + side, left : left + side * width // height])
    return part.resize((width, height), Image.Resampling.BOX)


def write_inputs(folder: Path) -> None:
    """Writes every input below the folder, which is made."""
    folder.mkdir(parents=True)
    cat, face, cup = skimage.data.chelsea(), skimage.data.astronaut(), skimage.data.coffee()
    photo = crop(cat, 20, 60, 260, 64, 48)
    photo.save(folder / "cat.png")
    photo.resize((32, 24)).resize((64, 48), Image.Resampling.BICUBIC).save(folder / "soft.png")
    crop(face, 20, 120, 200, 72, 60).save(folder / "face.jpg", quality=92)
    crop(cup, 60, 150, 200, 36, 28).save(folder / "small.png")
    crop(cup, 40, 40, 340, 54, 54).save(folder / "paint.png")
    random = np.random.default_rng(0)
    blobs = Image.fromarray(random.integers(0, 256, (14, 14, 3), dtype=np.uint8))
    blobs.resize((56, 48), Image.Resampling.BICUBIC).save(folder / "blobs.png")
    rows, columns = np.mgrid[:48, :64]
    Image.fromarray(((rows - 24) ** 2 + (columns - 30) ** 2 < 200).astype(np.uint8) * 255).save(folder / "mask.png")
    (folder / "list.txt").write_text("in/cat.png\nin/face.jpg\n", encoding="utf-8")
    write_formats(folder / "formats", np.asarray(photo.resize((40, 32))))
    write_folders(folder, cat, face, cup)
    write_damaged(folder)
    write_weights(folder)


def write_formats(folder: Path, picture: Levels) -> None:
    """One picture in the formats that are decoded in ways of their own."""
    folder.mkdir()
    height, width = picture.shape[:2]
    photo = Image.fromarray(picture)
    ramp = np.linspace(0, 255, height * width).reshape(height, width).astype(np.uint8)
    deep = picture.astype(np.uint16) * 257 + ramp[..., None]
    (folder / "16-bit.png").write_bytes(deep_png(deep))
    tifffile.imwrite(folder / "16-bit.tif", deep, photometric="rgb", compression="zlib", metadata=None)
    Image.fromarray(deep[..., 1]).save(folder / "16-bit-gray.png")
    Image.fromarray(picture[..., 0].astype(np.float32) / 255).save(folder / "float.tif")
    transparent = photo.convert("RGBA")
    transparent.putalpha(Image.fromarray(ramp))
    transparent.save(folder / "alpha.png")
    transparent.convert("LA").save(folder / "gray-alpha.png")
    palette = photo.quantize(16)
    palette.info["transparency"] = 3
    palette.save(folder / "palette.png", transparency=3)
    photo.convert("CMYK").save(folder / "cmyk.jpg", quality=92)
    photo.convert("CMYK").save(folder / "cmyk.tif")
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    lab = ImageCms.applyTransform(photo, to_lab)
    lab.info.clear()  # its profile holds the moment at which it was made
    lab.save(folder / "lab.tif")
    photo.convert("L").save(folder / "gray.bmp")
    photo.convert("1").save(folder / "bits.png")
    photo.save(folder / "moving.gif", save_all=True, append_images=[photo.rotate(90)])
    photo.save(folder / "lossless.webp", lossless=True)
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[24:36] = struct.pack(">6H", 2020, 1, 1, 0, 0, 0)  # else the moment at which it was made
    profile[84:100] = bytes(16)
    exif = Image.Exif()
    exif[Base.Make], exif[Base.Orientation] = "A camera", 6
    exif[IFD.Exif] = {Base.ExposureTime: 0.5}
    photo.save(folder / "other-name.jfif", format="JPEG", quality=92)
    photo.save(folder / "turned.jpg", quality=92, icc_profile=bytes(profile), exif=exif.tobytes())


def deep_png(levels: NDArray[np.uint16]) -> bytes:
    """A PNG with 16 bits a channel, (H, W, 3), which Pillow does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = levels.shape[:2]
    rows = b"".join(b"\0" + row.tobytes() for row in levels.astype(">u2"))
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def write_folders(folder: Path, cat: Levels, face: Levels, cup: Levels) -> None:
    """Folders: a tree with a damaged file, photographs to train on, paintings, pairs, classes of pictures, clips."""
    for name in ("tree/deep/er", "photos", "paintings", "pairs/a", "pairs/b", "labelled/cat", "labelled/cup", "empty"):
        (folder / name).mkdir(parents=True)
    crop(cat, 0, 0, 300, 40, 30).save(folder / "tree" / "one.png")
    crop(face, 0, 100, 300, 33, 41).save(folder / "tree" / "deep" / "two.jpg", quality=92)
    crop(cup, 0, 100, 300, 30, 30).save(folder / "tree" / "deep" / "er" / "three.png")
    (folder / "tree" / "deep" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    (folder / "tree" / "notes.txt").write_text("no picture\n", encoding="utf-8")
    for number, picture in enumerate((cat, face, cup, skimage.data.rocket())):
        crop(picture, 10 + 9 * number, 40, 280, 108, 96).save(folder / "photos" / f"{number}.png")
    for number, picture in enumerate((skimage.data.hubble_deep_field(), skimage.data.rocket())):
        crop(picture, 60, 90 + 40 * number, 200, 80, 72).save(folder / "paintings" / f"{number}.jpg", quality=92)
    for number in range(3):
        photo = crop(cup, 20 * number, 30 * number, 300, 72, 64)
        photo.save(folder / "pairs" / "a" / f"{number}.png")
        photo.resize((36, 32)).resize((72, 64)).save(folder / "pairs" / "b" / f"{number}_soft.png")
    crop(cat, 0, 0, 300, 72, 64).save(folder / "pairs" / "a" / "alone.png")
    for number in range(4):
        crop(cat, 30 * number, 50, 160, 40, 40).save(folder / "labelled" / "cat" / f"{number}.png")
        crop(cup, 30 * number, 150, 160, 40, 40).save(folder / "labelled" / "cup" / f"{number}.png")
    for clip, picture in enumerate((cat, face)):
        (folder / "clips" / str(clip)).mkdir(parents=True)
        for frame in range(4):
            shown = crop(picture, 8 * frame, 30 + 12 * frame, 200, 80, 72)
            shown.save(folder / "clips" / str(clip) / f"{frame}.png")


def write_damaged(folder: Path) -> None:
    """Files that are refused: a cut picture, text named as one, weights that are none, a pickled object."""
    whole = (folder / "cat.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.jpg").write_text("no picture\n", encoding="utf-8")
    (folder / "broken.safetensors").write_bytes(b"no weights")
    (folder / "object.pth").write_bytes(pickle.dumps({"weights": Path("a", "b")}))


def write_weights(folder: Path) -> None:
    """Weights of networks that others train, each of the smallest width, and of a teacher."""
    from spandrel.architectures.Compact import Compact
    from spandrel.architectures.ESRGAN import ESRGAN
    from torchvision.models import squeezenet1_0

    style, last = pytorch_examples(4, 6, 8), "deconv3.conv2d"
    save_drawn(folder / "pytorch-examples.pth", style, last)
    counted = {"in1.running_mean": (4,), "in1.running_var": (4,), "in1.num_batches_tracked": ()}
    save_drawn(folder / "counted.pth", style | counted, last)
    save_drawn(folder / "rrmina.pth", rrmina(4, 6, 8), "DeconvBlock.4.conv_layer")
    save_drawn(folder / "other.pth", {"some.weight": (3, 3), "some.bias": (3,)})
    with torch.device("meta"):
        others = {"esrgan.pth": ESRGAN(num_filters=4, num_blocks=1, scale=4), "squeezenet.pth": squeezenet1_0()}
        others["compact.pth"] = Compact(num_feat=4, num_conv=2, upscale=2)
    for name, network in others.items():
        save_drawn(folder / name, {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()})


def save_drawn(path: Path, shapes: Mapping[str, tuple[int, ...]], last: str = "") -> None:
    """Tensors of a normal distribution, with the deviation of He et al. 2015; vectors about 0.1.

    last: the convolution of a style network whose result is in grey levels, so that it is about 128.
    """
    random = np.random.default_rng(list(path.name.encode()))
    tensors = {}
    for name, shape in shapes.items():
        deviation = (2 / np.prod(shape[1:])) ** 0.5 if len(shape) > 1 else 0.1
        values = deviation * random.standard_normal(shape)
        if last and name.startswith(last):
            values = values * 30 if len(shape) > 1 else values + 128
        tensors[name] = torch.from_numpy(np.asarray(values, np.float32))
    torch.save(tensors, path)


def convolution(name: str, outputs: int, inputs: int, kernel: int) -> dict[str, tuple[int, ...]]:
    """The shapes of a convolution's weight and bias."""
    return {f"{name}.weight": (outputs, inputs, kernel, kernel), f"{name}.bias": (outputs,)}


def norm(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    """The shapes of a normalization's weight and bias."""
    return {f"{name}.weight": (channels,), f"{name}.bias": (channels,)}


def pytorch_examples(first: int, second: int, third: int) -> dict[str, tuple[int, ...]]:
    """The tensors of a style network of pytorch/examples."""
    shapes: dict[str, tuple[int, ...]] = {}
    for number, (outputs, inputs, kernel) in enumerate(((first, 3, 9), (second, first, 3), (third, second, 3)), 1):
        shapes |= convolution(f"conv{number}.conv2d", outputs, inputs, kernel) | norm(f"in{number}", outputs)
    for block in range(1, 6):
        for half in (1, 2):
            shapes |= convolution(f"res{block}.conv{half}.conv2d", third, third, 3)
            shapes |= norm(f"res{block}.in{half}", third)
    for number, (outputs, inputs) in enumerate(((second, third), (first, second)), 1):
        shapes |= convolution(f"deconv{number}.conv2d", outputs, inputs, 3) | norm(f"in{number + 3}", outputs)
    return shapes | convolution("deconv3.conv2d", 3, first, 9)


def rrmina(first: int, second: int, third: int) -> dict[str, tuple[int, ...]]:
    """The tensors of a style network of rrmina/fast-neural-style-pytorch."""
    shapes: dict[str, tuple[int, ...]] = {}
    for number, (outputs, inputs, kernel) in enumerate(((first, 3, 9), (second, first, 3), (third, second, 3))):
        shapes |= convolution(f"ConvBlock.{2 * number}.conv_layer", outputs, inputs, kernel)
        shapes |= norm(f"ConvBlock.{2 * number}.norm_layer", outputs)
    for block in range(5):
        for half in (1, 2):
            shapes |= convolution(f"ResidualBlock.{block}.conv{half}.conv_layer", third, third, 3)
            shapes |= norm(f"ResidualBlock.{block}.conv{half}.norm_layer", third)
    for number, (outputs, inputs) in enumerate(((second, third), (first, second))):
        layer = f"DeconvBlock.{2 * number}"
        shapes |= {
            f"{layer}.conv_transpose.weight": (inputs, outputs, 3, 3),
            f"{layer}.conv_transpose.bias": (outputs,),
        }
        shapes |= norm(f"{layer}.norm_layer", outputs)
    return shapes | convolution("DeconvBlock.4.conv_layer", 3, first, 9)
