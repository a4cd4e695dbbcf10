"""Reference parameter counts and multiply-accumulates for the tests, one row per architecture.

Trainable, then total with BatchNormalization's moving statistics, for 10 and for 100 classes. They come from the
papers' code and from independent zoos, not from this package. Millions of multiply-accumulates are for one 32x32 image
and 10 classes, convolutions and linear layers only.
"""

from typing import NamedTuple

from cifarzoo.models.catalogue import catalogue


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
    Row("cifar_resnet", {}, 269_722, 271_098, 275_572, 276_948, 40.55),
    Row("cifar_resnet164", {}, 1_703_258, 1_727_482, 1_726_388, 1_750_612, 247.65),
    Row("cifar_resnet164", B, 1_704_154, 1_729_274, 1_727_284, 1_752_404),
    Row("cifar_resnet1001", {}, 10_327_706, 10_476_922, 10_350_836, 10_500_052, 1491.00),
]

DEEP_RESNET = [
    Row("cifar_resnet272", PRE_B, 2_816_090, 2_856_442, 2_839_220, 2_879_572),
    Row("cifar_resnet542", PRE_B, 5_598_170, 5_678_842, 5_621_300, 5_701_972),
    Row("cifar_resnet1202", A, 19_421_274, 19_510_906, 19_427_124, 19_516_756),
]

# Depths without a factory of their own, for the builder: (depth, shortcut type) of the original form.
RESNET_BUILDER = [
    (38, "A", 561_370, 564_090, 567_220, 569_940, 83.02),
    (38, "B", 564_122, 567_034, 569_972, 572_884, 83.28),
    (74, "A", 1_144_666, 1_150_074, 1_150_516, 1_155_924, 167.95),
    (74, "B", 1_147_418, 1_153_018, 1_153_268, 1_158_868, 168.22),
]

VGG = [
    Row("cifar_vgg11", {}, 9_231_114, 9_236_618, 9_277_284, 9_282_788, 152.77),
    Row("cifar_vgg13", {}, 9_416_010, 9_421_898, 9_462_180, 9_468_068, 228.27),
    Row("cifar_vgg16", {}, 14_728_266, 14_736_714, 14_774_436, 14_782_884, 313.2),
    Row("cifar_vgg19", {}, 20_040_522, 20_051_530, 20_086_692, 20_097_700, 398.14),
    # chenyaofo's: 9.76 million. Two more layers of 512 * 512 weights and 512 biases.
    Row(
        "cifar_vgg11",
        {"hidden_layers": 2},
        *(n + 2 * (512 * 512 + 512) for n in (9_231_114, 9_236_618, 9_277_284, 9_282_788)),
    ),
]

WIDE_RESNET = [
    Row("cifar_wrn_16_4", {}, 2_748_890, 2_752_506, 2_772_020, 2_775_636, 392.61),
    Row("cifar_wrn_16_8", {}, 10_961_370, 10_968_570, 11_007_540, 11_014_740, 1548.15),
    Row("cifar_wrn_26_10", {}, 26_797_914, 26_811_386, 26_855_604, 26_869_076, 3827.75),
    Row("cifar_wrn_28_10", {}, 36_479_194, 36_497_146, 36_536_884, 36_554_836, 5243.33),
    Row("cifar_wrn_40_2", {}, 2_243_546, 2_248_954, 2_255_156, 2_260_564, 327.6),
    Row("cifar_wrn_40_4", {}, 8_949_210, 8_959_994, 8_972_340, 8_983_124, 1298.58),
    Row("cifar_wrn_40_8", {}, 35_748_314, 35_769_850, 35_794_484, 35_816_020, 5172.02),
    Row("cifar_wide_resnet", {"depth": 16, "width": 10}, 17_116_634, 17_125_626, 17_174_324, 17_183_316, 2412.17),
]

RESNEXT = [
    Row("cifar_resnext29_32x4d", {}, 4_775_754, 4_800_970, 4_868_004, 4_893_220, 774.06),
    Row("cifar_resnext29_4x32d", {}, 6_807_882, 6_833_098, 6_900_132, 6_925_348),
    Row("cifar_resnext", {"depth": 20, "cardinality": 16, "base_width": 4}, 1_995_082, 2_009_546, 2_087_332, 2_101_796),
    Row("cifar_resnext29_8x64d", {}, 34_426_698, 34_484_170, 34_518_948, 34_576_420, 5387.27),
    Row("cifar_resnext29_16x64d", {}, 68_155_210, 68_255_690, 68_247_460, 68_347_940, 10688.87),
]

OTHER_RESNETS = [
    Row("cifar_resnet18", {}, 11_173_962, 11_183_562, 11_220_132, 11_229_732, None),
    Row("cifar_resnet8", {}, 78_186, 78_666, 78_186 + 65 * 90, 78_666 + 65 * 90, 12.50),
    Row("cifar_resnet9", {}, 6_573_120, 6_577_600, 6_619_200, 6_623_680, None),
]

# Counted by hand from the authors' code: 9 * inputs * outputs a convolution, a bias a BatchNormalization, the stem's.
AIRBENCH = [
    Row("cifar_airbench94", {}, 1_971_352, 1_973_944, 1_994_392, 1_996_984, 118.15),
    Row("cifar_airbench95", {}, 4_604_440, 4_608_312, 4_639_000, 4_642_872, 301.56),
]

POST = {"block_type": "postactivated"}
SHAKE_SHAKE = [
    Row("cifar_shake_shake", {"depth": 20, "width": 16, **POST}, 541_082, 543_994, 546_932, 549_844),
    Row("cifar_shake_shake26_2x32d", POST, 2_923_162, 2_930_810, 2_934_772, 2_942_420),
    Row("cifar_shake_shake26_2x32d", {}, 2_923_162, 2_930_810, 2_934_772, 2_942_420, 426.69),
    Row("cifar_shake_shake26_2x64d", {}, 11_653_978, 11_669_242, 11_677_108, 11_692_372, 1685.51),
    Row("cifar_shake_shake26_2x96d", {}, 26_192_922, 26_215_802, 26_227_572, 26_250_452, 3776.89),
    Row("cifar_shake_shake26_2x112d", {}, 35_640_442, 35_667_130, 35_680_852, 35_707_540, 5134.8),
]

PYRAMIDNET = [
    Row("cifar_pyramidnet110_a48", {}, 1_772_706, 1_785_874, 1_778_556, 1_791_724, 403.81),
    Row("cifar_pyramidnet110_a84", {}, 3_904_446, 3_923_554, 3_913_536, 3_932_644, 772.17),
    Row("cifar_pyramidnet110_a270", {}, 28_485_477, 28_535_275, 28_511_307, 28_561_105, 4717.98),
    Row("cifar_pyramidnet164_a270", {}, 27_216_021, 27_381_865, 27_319_071, 27_484_915, 4569.84),
    Row("cifar_pyramidnet200_a240", {}, 26_752_702, 26_934_686, 26_844_952, 27_026_936, None),
    Row("cifar_pyramidnet236_a220", {}, 26_969_046, 27_167_870, 27_054_096, 27_252_920, None),
    Row("cifar_pyramidnet272_a200", {}, 26_210_842, 26_421_706, 26_288_692, 26_499_556, 4488.78),
    Row("cifar_shakedrop_pyramidnet272_a200", {}, 26_210_842, 26_421_706, 26_288_692, 26_499_556, 4488.78),
]

# The references have one more gate than these: after the last block, unused. What it holds is taken off here.
UNUSED_RECURRENT, UNUSED_ONE, UNUSED_TWO = 64 * 10 + 10, 36_864 + 128 + 130, 2 * 36_864 + 256 + 130
STATISTICS = 128
FEED_FORWARD = {"gate": "feed_forward"}
SKIPNET = [
    Row("cifar_skipnet38", {}, *(n - UNUSED_RECURRENT for n in (571_873, 574_785, 577_723, 580_635))),
    Row("cifar_skipnet74", {}, *(n - UNUSED_RECURRENT for n in (1_162_069, 1_167_669, 1_167_919, 1_173_519))),
    Row("cifar_skipnet110", {}, *(n - UNUSED_RECURRENT for n in (1_752_265, 1_760_553, 1_758_115, 1_766_403))),
    Row(
        "cifar_skipnet38",
        FEED_FORWARD,
        1_148_798 - UNUSED_TWO,
        1_154_398 - UNUSED_TWO - 2 * STATISTICS,
        1_154_648 - UNUSED_TWO,
        1_160_248 - UNUSED_TWO - 2 * STATISTICS,
    ),
    Row(
        "cifar_skipnet74",
        FEED_FORWARD,
        2_316_770 - UNUSED_TWO,
        2_327_746 - UNUSED_TWO - 2 * STATISTICS,
        2_322_620 - UNUSED_TWO,
        2_333_596 - UNUSED_TWO - 2 * STATISTICS,
    ),
    Row(
        "cifar_skipnet110",
        FEED_FORWARD,
        2_609_798 - UNUSED_ONE,
        2_622_118 - UNUSED_ONE - STATISTICS,
        2_615_648 - UNUSED_ONE,
        2_627_968 - UNUSED_ONE - STATISTICS,
    ),
]

ROWS = [*RESNET, *VGG, *WIDE_RESNET, *RESNEXT, *OTHER_RESNETS, *AIRBENCH, *SHAKE_SHAKE, *PYRAMIDNET, *SKIPNET]

# Building these takes long, or they are others' equals: only the catalogue's numbers are compared with them.
DEEP = [
    *DEEP_RESNET,
    Row("cifar_resnext", {}, 34_426_698, 34_484_170, 34_518_948, 34_576_420, 5387.27),
    Row("cifar_shake_shake", {}, 26_192_922, 26_215_802, 26_227_572, 26_250_452, 3776.89),
]


def is_default(row):
    """Return whether a row's factory builds it by default, so that the catalogue has its sizes."""
    return row.arguments.items() <= catalogue()[row.model].arguments.items()
