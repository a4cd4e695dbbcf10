"""Names and numbers of the classes of each data set."""

from collections.abc import Sequence
from typing import Any

from cifarzoo.data import synthetic

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR100_CLASSES = tuple(
    """apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
    man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
    pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
    skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
    tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm""".split()
)
CIFAR100_COARSE_CLASSES = tuple(
    """aquatic_mammals fish flowers food_containers fruit_and_vegetables household_electrical_devices
    household_furniture insects large_carnivores large_man-made_outdoor_things large_natural_outdoor_scenes
    large_omnivores_and_herbivores medium_mammals non-insect_invertebrates people reptiles small_mammals trees
    vehicles_1 vehicles_2""".split()
)
# The superclass of each of CIFAR-100's classes.
CIFAR100_SUPERCLASSES = tuple(
    int(number)
    for number in """4 1 14 8 0 6 7 7 18 3 3 14 9 18 7 11 3 9 7 11 6 11 5 10 7 6 13 15 3 15 0 11 1 10 12 14 16 9
    11 5 5 19 8 8 15 13 14 17 18 10 16 4 17 4 2 0 17 4 18 17 10 3 2 12 12 16 12 1 9 19 2 10 0 1 16 12 9 13 15 13 16 19 2
    4 6 19 5 5 8 19 18 1 2 15 6 0 17 8 14 13""".split()
)
# Per data set: its classes, and its coarse classes if it has any.
CLASS_NAMES = {
    "cifar10": (CIFAR10_CLASSES, None),
    "cifar100": (CIFAR100_CLASSES, CIFAR100_COARSE_CLASSES),
    "synthetic": (synthetic.CLASSES, None),
    "cifar100_coarse": (CIFAR100_COARSE_CLASSES, None),
}


def classes_of(dataset: str) -> int:
    """Return the number of (fine) classes of a data set."""
    return len(CLASS_NAMES[dataset][0])


def dataset_with(classes: int) -> str:
    """Guess the data set that a model with this many outputs is for: CIFAR-100 for 100 or 20, else CIFAR-10."""
    return {100: "cifar100", 20: "cifar100_coarse"}.get(classes, "cifar10")


def are_numbers(names: Sequence[str]) -> bool:
    """Whether classes have no names of their own: they are "0", "1", and so on, or none are known."""
    return list(names) == [str(number) for number in range(len(names))]


def other_classes(names: Sequence[str], dataset: Any) -> str:
    """Say how the classes of a network differ from those of a data set, which has `name` and `class_names`."""
    for number, (name, other) in enumerate(zip(names, dataset.class_names, strict=False)):
        if name != other:
            return f"output {number} is {name!r}, class {number} of {dataset.name} is {other!r}"
    return f"has {len(names)} classes, {dataset.name} has {len(dataset.class_names)}"
