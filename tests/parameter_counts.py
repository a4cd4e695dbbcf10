"""Parameter counts and multiply-accumulates that the tests hold the models against, a row an architecture.

Trainable, then total with BatchNormalization's moving statistics, for 10 and for 100 classes. They come from the
papers' code and from independent zoos, not from this package. Millions of multiply-accumulates are for one 32x32 image
and 10 classes, convolutions and linear layers only.
"""

from typing import NamedTuple


class Row(NamedTuple):
    """One architecture: how to build it and how large it is."""

    model: str
    arguments: dict
    trainable_10: int
    total_10: int
    trainable_100: int
    total_100: int
    millions_of_macs: float | None = None

    def __str__(self):
        return "-".join([self.model, *map(str, self.arguments.values())])


A = {"block_type": "original", "shortcut_type": "A"}
B = {"block_type": "original", "shortcut_type": "B"}
PRE_A = {"block_type": "preactivated", "shortcut_type": "A"}
PRE_B = {"block_type": "preactivated", "shortcut_type": "B"}

RESNET = [
    Row("cifar_resnet20", A, 269_722, 271_098, 275_572, 276_948, 40.55),
    Row("cifar_resnet20", B, 272_474, 274_042, 278_324, 279_892, 40.81),
    Row("cifar_resnet20", PRE_A, 269_722, 271_098, 275_572, 276_948, 40.55),
    Row("cifar_resnet20", PRE_B, 272_282, 273_658, 278_132, 279_508, 40.81),
    Row("cifar_resnet32", A, 464_154, 466_426, 470_004, 472_276, 68.86),
    Row("cifar_resnet32", B, 466_906, 469_370, 472_756, 475_220, 69.12),
    Row("cifar_resnet32", PRE_A, 464_154, 466_426, 470_004, 472_276, 68.86),
    Row("cifar_resnet32", PRE_B, 466_714, 468_986, 472_564, 474_836, 69.12),
    Row("cifar_resnet44", A, 658_586, 661_754, 664_436, 667_604, 97.17),
    Row("cifar_resnet44", B, 661_338, 664_698, 667_188, 670_548, 97.44),
    Row("cifar_resnet44", PRE_A, 658_586, 661_754, 664_436, 667_604, 97.17),
    Row("cifar_resnet44", PRE_B, 661_146, 664_314, 666_996, 670_164, 97.44),
    Row("cifar_resnet56", A, 853_018, 857_082, 858_868, 862_932, 125.49),
    Row("cifar_resnet56", B, 855_770, 860_026, 861_620, 865_876, 125.75),
    Row("cifar_resnet56", PRE_A, 853_018, 857_082, 858_868, 862_932, 125.49),
    Row("cifar_resnet56", PRE_B, 855_578, 859_642, 861_428, 865_492, 125.75),
    Row("cifar_resnet110", A, 1_727_962, 1_736_058, 1_733_812, 1_741_908, 252.89),
    Row("cifar_resnet110", B, 1_730_714, 1_739_002, 1_736_564, 1_744_852, 253.15),
    Row("cifar_resnet110", PRE_A, 1_727_962, 1_736_058, 1_733_812, 1_741_908, 252.89),
    Row("cifar_resnet110", PRE_B, 1_730_522, 1_738_618, 1_736_372, 1_744_468, 253.15),
    Row("cifar_resnet164", {}, 1_703_258, 1_727_482, 1_726_388, 1_750_612, 247.65),
    Row("cifar_resnet1001", {}, 10_327_706, 10_476_922, 10_350_836, 10_500_052, 1491.00),
]

# Depths without a factory of their own, for the builder: (depth, shortcut type) of the original form.
RESNET_BUILDER = [
    (38, "A", 561_370, 564_090, 567_220, 569_940, 83.02),
    (38, "B", 564_122, 567_034, 569_972, 572_884, 83.28),
    (74, "A", 1_144_666, 1_150_074, 1_150_516, 1_155_924, 167.95),
    (74, "B", 1_147_418, 1_153_018, 1_153_268, 1_158_868, 168.22),
]

ROWS = [*RESNET]
