"""What `percept invert` does with an autoencoder: photographs to their code and back."""

from percept_cli.console import Console
from percept_cli.core.files.outputs import Job


def reconstruct_images(
    jobs: list[Job],
    model: str,
    size: int | None,
    console: Console,
    *,
    device: str,
    precision: str,
    threads: int | None,
    quality: int,
    show: bool,
) -> None:
    """Every photograph as an autoencoder's code gives it back, of its own size, or its middle square of `size` pixels.

    Reported are the code's shape, how many times fewer numbers it holds than the pixels, and the image error. Raises
    what `load_generator` and `process_images` do.
    """
    from percept_cli.commands.batch import process_images
    from percept_cli.core.generators.autoencoder import Autoencoder
    from percept_cli.core.images.photo import Photo, middle_square
    from percept_cli.core.inference.invert import run_autoencoder
    from percept_cli.core.measures.pixels import image_error
    from percept_cli.core.pretrained.generators import load_generator
    from percept_cli.core.runtime import choose_runtime, memory_errors

    loaded = load_generator(model, "autoencoder")
    runtime = choose_runtime(device, precision, threads)
    console.say(runtime.reason)
    network = runtime.prepare(loaded.network)
    assert isinstance(network, Autoencoder)
    fields: dict[str, object] = {"model": loaded.name}

    def operation(photo: Photo, job: Job) -> Photo:
        label = "standard input" if job.source is None else job.source.name
        pixels = photo.visible()
        if size is not None:
            pixels = middle_square(pixels, size)
            photo = Photo(pixels, icc=photo.icc, format=photo.format, bits=photo.bits)
        height, width = photo.height, photo.width
        with memory_errors(f"{width}x{height} pixels"):
            result, code = run_autoencoder(network, pixels, runtime)
        covered = [network.stride * side for side in code.shape[2:]]
        if covered != [height, width]:
            console.say(
                f"{label}: the code covers {covered[1]}x{covered[0]} pixels, of which the last repeat the edges of "
                f"{width}x{height}; the result is cut to that"
            )
        # As the file holds it, which is what anyone can measure again.
        steps = 255 if photo.bits == 8 else 65535
        error = image_error((result * steps).round() / steps, pixels)
        fewer = pixels.numel() / code.numel()
        shape = "x".join(str(length) for length in code.shape[1:])
        console.say(
            f"{label}: a code of {shape}, {fewer:.1f} times fewer numbers than the pixels; image error "
            f"{error:.1f} gray levels"
        )
        fields.update(code=list(code.shape[1:]), times_fewer=round(fewer, 2), image_error=round(error, 2))
        return photo.with_visible(result)

    process_images(jobs, operation, console, quality=quality, show=show, fields=fields)
