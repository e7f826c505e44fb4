"""`tsresformer train` and `tsresformer export`."""

from __future__ import annotations

import click
from click.core import ParameterSource

from tsresformer.commands.common import echo, warn, warn_of_leak
from tsresformer.errors import EXIT_INTERRUPTED, EXIT_OK, require


@click.command()
@click.option(
    "--config",
    default="ts_resformer",
    show_default=True,
    metavar="NAME|TOML",
    help="A shipped training configuration, or a file.",
)
@click.option("--manifest", required=True, type=click.Path(), help="With a training split.")
@click.option("--store", required=True, type=click.Path(), help="From 'tsresformer features'.")
@click.option("-o", "--out", required=True, type=click.Path(), help="The run, a new folder.")
@click.option("--resume", is_flag=True, help="Go on after the last finished epoch.")
@click.option("--init", metavar="BUNDLE", help="Start from a bundle: its weights, model, slicing.")
@click.option(
    "--teacher",
    "teachers",
    multiple=True,
    metavar="BUNDLE",
    help="Learn from what this bundle says of the training tracks, too; may be repeated.",
)
@click.option("--refit", metavar="BUNDLE", help="Repeat its training on all of the split.")
@click.option(
    "--devices",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Processes on each machine: GPUs, or parts of a processor.",
)
@click.option("--nodes", type=click.IntRange(1), default=1, show_default=True, help="Machines.")
@click.option("--set", "overrides", multiple=True, metavar="a.b=v", help="Change one setting.")
def train(
    config: str,
    manifest: str,
    store: str,
    out: str,
    resume: bool,
    init: str | None,
    teachers: tuple[str, ...],
    refit: str | None,
    devices: int,
    nodes: int,
    overrides: tuple[str, ...],
) -> int:
    """Train a network on the training split.

    A development fold is cut out of the training split by artist, and chooses the epoch; the
    validation and the test split are not looked at.

    With --init, model and slicing are the bundle's; --set slicing.slice_s=... changes the slicing.

    With --teacher, the labels are mixed with the mean probabilities of bundles that were trained on
    the same manifest and development fold, e.g. with several seeds (--set seed=1).

    With --refit, a recipe that is settled is trained once more, with the development fold as well.
    Nothing chooses an epoch then: the last one is kept, with the calibration of BUNDLE. Name the
    teachers again that BUNDLE had; the configuration is its own.

    \b
    Examples:
      tsresformer train --config fma_small --manifest fma.csv --store store/ -o runs/a
      tsresformer train --manifest fma.csv --store store/ -o runs/b --set train.epochs=30
      tsresformer train --manifest mine.csv --store store/ -o runs/c --init fma-small
      tsresformer train --manifest mine.csv --store store/ -o runs/d --teacher a.bundle
      tsresformer train --manifest mine.csv --store store/ -o runs/e --refit a.bundle
    """
    from tsresformer.bundle import Bundle
    from tsresformer.config import Config, load_config

    if refit:
        given = click.get_current_context().get_parameter_source("config")
        if overrides or given is not ParameterSource.DEFAULT:
            raise click.UsageError(
                "--refit repeats the bundle's own configuration: leave out --config and --set"
            )
        settings = Config(**Bundle.load(refit).record["training"]["config"])
    else:
        settings = load_config(config, overrides)
        if init and not any(text.strip().startswith("slicing.") for text in overrides):
            settings = settings.model_copy(update={"slicing": Bundle.load(init).slicing})
    require("pytorch_lightning", "train")
    from tsresformer.training.fit import fit
    from tsresformer.training.processes import Processes

    try:
        run = fit(
            settings,
            manifest,
            store,
            out,
            resume=resume,
            init=init,
            teachers=teachers,
            refit=refit,
            devices=devices,
            nodes=nodes,
            say=lambda text: warn(f"warning: {text}"),
        )
    except KeyboardInterrupt:
        warn("interrupted: the same command with --resume goes on after the last finished epoch")
        return EXIT_INTERRUPTED
    if Processes(devices, nodes).rank:
        return EXIT_OK
    result = run.result
    warn_of_leak(out, run.record["protocol"])
    score = "accuracy" if run.config.task == "single" else "mean average precision"
    chosen = "the last one is kept; no track was held out"
    if not refit:
        chosen = (
            f"best epoch {result['best_epoch'] + 1}, {score} {result['dev_score']:.1%} on the "
            f"development fold ({len(run.record['development_tracks'])} tracks held out by artist)"
        )
    echo(f"{out}: {result['epochs']} epochs in {result['seconds']:.0f} s; {chosen}")
    if run.n_left_out:
        echo(f"not learned from: {run.n_left_out} rows of {run.folder / 'left_out.csv'}")
    echo(f"next: tsresformer export {out} -o my.bundle")
    return EXIT_OK


@click.command()
@click.argument("run", type=click.Path())
@click.option("-o", "--out", required=True, type=click.Path(), help="The bundle, a new folder.")
@click.option("--name", help="What outputs call the model.  [default: the name of the bundle]")
@click.option("--manifest", type=click.Path(), help="If it has moved since the training.")
@click.option("--store", type=click.Path(), help="If it has moved since the training.")
@click.option("--compact", is_flag=True, help="Store the weights in half precision.")
def export(
    run: str, out: str, name: str | None, manifest: str | None, store: str | None, compact: bool
) -> int:
    """Turn a run's best epoch into a bundle: ONNX, calibration, model card.

    With --compact the bundle has half the size and computes in single precision all the same; its
    calibration and its development score are those of the rounded weights.

    \b
    Examples:
      tsresformer export runs/a -o my.bundle
      tsresformer export runs/a -o small.bundle --compact
    """
    require("torch", "train")
    from tsresformer.export import export as make
    from tsresformer.manifest import Manifest
    from tsresformer.store import FeatureStore

    bundle = make(
        run,
        out,
        name=name,
        manifest=Manifest.read(manifest) if manifest else None,
        store=FeatureStore.open(store) if store else None,
        compact=compact,
        on_step=echo,
    )
    warn_of_leak(out, bundle.record["training"]["protocol"])
    size = sum(path.stat().st_size for path in bundle.path.iterdir()) / 1e6
    echo(f"{out}: {bundle.name}, {len(bundle.labels)} genres, {size:.1f} MB")
    return EXIT_OK
