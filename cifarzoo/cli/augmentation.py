"""The command that previews augmentations."""

import os
from pathlib import Path
from typing import Annotated

import typer

from cifarzoo.cli.options import DataDir, Debug
from cifarzoo.cli.progress import progress_bar
from cifarzoo.user_code import find_modules

commands = typer.Typer()


@commands.command()
def augment(
    preview: Annotated[str, typer.Option(help="A named pipeline, or a list in YAML.")],
    out: Annotated[Path, typer.Argument(help="The PNG file to write.")],
    dataset: Annotated[
        str | None,
        typer.Option(
            help="cifar10, cifar100, cifar100_coarse or synthetic; or a folder of class folders, an .npz file, "
            "tfds:NAME. Default: cifar10 if $CIFARZOO_DATA is set, else synthetic."
        ),
    ] = None,
    data_dir: DataDir = None,
    debug: Debug = False,
) -> None:
    """Draw a gallery of augmented training images, with captions."""
    with progress_bar() as show:
        show("start", 0)
        from cifarzoo.augment.preview import draw_gallery
        from cifarzoo.data import load
        from cifarzoo.data.own_data import source_from_text
        from cifarzoo.strict_yaml import parse

        find_modules(Path())
        name = dataset or ("cifar10" if data_dir or os.environ.get("CIFARZOO_DATA") else "synthetic")
        show(f"load {name}", 0)
        data = load(source_from_text(name), data_dir)
        images, labels = data.train.images[:8], data.train.labels[:8]
        augmentation = parse(preview, "--preview")
        fill, names = data.mean_color, data.class_names
        show("draw", 0.5)
        draw_gallery(augmentation, images, labels, out, classes=data.classes, fill=fill, class_names=names)
    print(out)
