"""What the help shows besides each command's own text: groups, one example per command, exit statuses."""

from typing import Any

# Examples by command, by group; both appear in this order.
GROUPS = {
    "Use networks": {
        "list": "cifarzoo list 'cifar_wrn*' --pretrained",
        "show": "cifarzoo show resnet20_v1_cifar10_200ep_s0",
        "predict": "cifarzoo predict cat.jpg holidays/ --model resnet20_v1_cifar100_200ep_s0",
        "export": "cifarzoo export resnet20_v1_cifar10_200ep_s0 --to onnx resnet20.onnx",
    },
    "Train": {
        "train": "cifarzoo train @vgg --only vgg11",
        "augment": "cifarzoo augment --preview standard gallery.png",
        "search": "cifarzoo search search.yaml --objective band",
        "schema": "cifarzoo schema > experiments.schema.json",
        "table": "cifarzoo table logs --sort error",
        "log": "cifarzoo log logs/resnet20_v1/seed0",
    },
    "Measure": {
        "evaluate": "cifarzoo evaluate logs/resnet20_v1/seed0",
        "report": "cifarzoo report logs/resnet20_v1/seed0",
        "compare": "cifarzoo compare logs/resnet20_v1 logs/resnet20_v2",
        "average": "cifarzoo average logs/resnet20_v1/seed0 logs/resnet20_v1/seed1 -o soup.weights.h5",
        "sharpness": "cifarzoo sharpness logs/resnet20_v1/seed0 --measure hessian_trace",
    },
    "Other projects' weights": {
        "import": "cifarzoo import akamaster/resnet20 --evaluate",
        "convert": "cifarzoo convert resnet20.th --model cifar_resnet20 --statistics imagenet",
        "atlas": "cifarzoo atlas atlas.html",
    },
    "Publish weights": {
        "fill-zoo": "cifarzoo fill-zoo --budget 2h",
        "publish": "cifarzoo publish logs/resnet20_v1/seed0 resnet20_v1_cifar10_s0",
        "prefer": "cifarzoo prefer resnet20_v1_cifar10_200ep_s0",
        "push": "cifarzoo push resnet20_v1_cifar10_200ep_s0 hf://me/resnet20-cifar10",
    },
}
# Blank lines separate the lines of the help.
EPILOG = """Try: cifarzoo list, cifarzoo show cifar_resnet20, cifarzoo train --quickstart.

cifarzoo COMMAND -h has an example of each command, cifarzoo --install-completion completes names in your shell.

Exit status: 0 success, 1 an error, 2 a wrong command line, 75 stopped and saved (the same command resumes it),
130 Ctrl-C, 143 SIGTERM before the first run."""


def add_guide(root: Any) -> None:
    """Group the commands of the application, and give each its example."""
    for group, examples in GROUPS.items():
        for name, example in examples.items():
            root.commands[name].rich_help_panel = group
            root.commands[name].epilog = f"Example: {example}"
            root.commands[name] = root.commands.pop(name)  # the help lists them in this order
