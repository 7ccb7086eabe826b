"""`percept train invert`: train a network that turns the features of a layer back into the image."""

from pathlib import Path
from typing import Annotated

import typer

from percept_cli import options

CALIBRATION_CROPS = 64


def train_invert(
    layer: Annotated[str, typer.Option("--layer", help="The layer to invert; conv5 is the last of its block.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The model to write. Default: EXTRACTOR-LAYER.safetensors.")
    ] = None,
    data: options.Data = None,
    extractor: options.Extractor = "compact",
    extractor_weights: options.ExtractorWeights = None,
    loss: options.DeepsimLoss = "deepsim",
    image_weight: options.ImageWeight = None,
    feature_weight: options.FeatureWeight = None,
    adversarial_weight: options.AdversarialWeight = None,
    scaling: options.UnrelatedScaling = "typical",
    comparator: options.Comparator = "compact",
    comparator_layers: options.ComparatorLayers = None,
    comparator_weights: options.ComparatorWeights = None,
    discriminator_channels: options.DiscriminatorChannels = 32,
    code_branch: options.CodeBranch = True,
    generator: Annotated[str, typer.Option(help="lean, deepsim-2016 or deepsim-2016-linear.")] = "lean",
    width: Annotated[float, typer.Option(min=0.05, help="Channels as a share of the generator's own.")] = 1.0,
    steps: Annotated[int, typer.Option(min=1, help="Optimizer updates.")] = 1500,
    batch: Annotated[int, typer.Option(min=1, help="Photographs a step.")] = 8,
    size: Annotated[int, typer.Option(min=16, help="Side of the training crops, pixels.")] = 128,
    learning_rate: Annotated[
        float | None, typer.Option(min=0.0, help="Peak of the schedule. Default: 1.5e-3 for muon, 2e-4 for adam.")
    ] = None,
    optimizer: Annotated[str, typer.Option(help="muon or adam.")] = "muon",
    start: Annotated[
        str | None, typer.Option(help="Begin from a trained inverter of the same layer: fewer steps do.")
    ] = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    threads: options.Threads = None,
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Train an inverter: a network that turns a layer's features back into the image (Dosovitskiy & Brox 2016).

    percept train-invert --layer conv5

    percept train invert --layer conv5 --loss image --data photos/ -o blurred.safetensors
    """
    import torch

    from percept_cli.commands.train.session import follow, open_run, training_photos
    from percept_cli.console import Console
    from percept_cli.core.data.photos import Crops, fingerprint
    from percept_cli.core.generators.inversion import Inverter
    from percept_cli.core.pretrained.extractors import create_extractor, named_extractor
    from percept_cli.core.pretrained.generators import start_generator
    from percept_cli.core.runtime import seed_everything
    from percept_cli.core.training.inversion import ADAM_RATE, MUON_RATE, LossOptions
    from percept_cli.core.training.loop import Training, unwrap
    from percept_cli.core.training.optimizers import create_optimizer
    from percept_cli.errors import UsageError

    console = Console(quiet, json)
    losses = LossOptions.check(
        loss, (image_weight, feature_weight, adversarial_weight), scaling, comparator, comparator_layers,
        comparator_weights, discriminator_channels, code_branch, size,
    )  # fmt: skip

    extractor, extractor_weights = named_extractor(extractor, extractor_weights)
    seed_everything(seed)
    whole = create_extractor(extractor, [layer], extractor_weights, seed, console.say)
    layer = whole.layers[0]
    fingerprint_of_weights = whole.fingerprint(layer)
    output = output or Path(f"{extractor}-{layer}.safetensors")
    photos = training_photos(data, "inverter", console)
    run = open_run(output, options.Compute(device, precision, threads), options.ExistingRun(resume, overwrite), console)
    runtime, (_, processes) = run.runtime, run.shard

    frozen = runtime.freeze(whole)
    crops = Crops(photos, size, seed, steps * batch * processes)
    photographs = torch.stack([crops[number] for number in range(min(CALIBRATION_CROPS, 4 * len(photos), len(crops)))])
    with torch.no_grad():
        features = torch.cat([frozen(runtime.place(few))[layer].float() for few in photographs.split(8)])
    grid = frozen.grid(layer)
    if grid is None and features[0, 0].numel() > 1:
        raise UsageError(
            f"{layer} of {extractor} has no fixed place in the image: invert the layer before or after it."
        )
    created = start_generator(
        "inverter", generator, start, layer=layer, extractor=extractor, channels=features.shape[1],
        stride=grid.stride if grid else 0, offset=grid.offset if grid else 0.0, side=0 if grid else size, width=width,
    )  # fmt: skip
    assert isinstance(created, Inverter)
    if start is None:
        created.calibrate(features.cpu())
    network = run.place(created)
    training = Training(network, create_optimizer(optimizer, network), steps)
    compare = losses.create(run, training, optimizer, features.shape[1], seed)
    rate = learning_rate if learning_rate is not None else MUON_RATE if optimizer == "muon" else ADAM_RATE
    settings = {
        "extractor": extractor, "layer": layer, "fingerprint": fingerprint_of_weights,
        **losses.settings(compare),
        "generator": generator, "arguments": created.arguments, "steps": steps, "batch": batch, "size": size,
        "learning_rate": rate, "optimizer": optimizer, "start": Path(start).stem if start else "",
        "photos": len(photos), "photos_digest": fingerprint(photos), "seed": seed, "precision": runtime.precision,
        "processes": processes,
    }  # fmt: skip

    def compute_loss(network, images, step):  # type: ignore[no-untyped-def]
        with torch.no_grad():
            code = frozen(images)[layer]
        with runtime.autocast():
            result = network(code, (size, size))
        return compare.generator_part(result, images, created.normalize(code))

    loop = run.train(
        training, crops, batch, compute_loss, rate, settings,
        clip_norm=losses.clip_norm, shown=(photographs[:1], (features[:1], (size, size))),
    )  # fmt: skip
    follow(run, loop, console)
    if not run.is_main:
        return
    run.save(
        unwrap(network).state_dict(),
        {"role": "inverter", "architecture": generator, "arguments": created.arguments, "extractor": extractor,
         "layer": layer, "fingerprint": fingerprint_of_weights, "recipe": settings},
    )  # fmt: skip
    console.say(f"try it: percept invert PHOTO --layer {layer} --method generator -m {output}")
    console.result(str(output), output=str(output), steps=steps, preview=str(run.preview))
