"""What an experiment's `augmentation:` key may hold, known without importing Keras."""

from typing import Any

Description = str | list[str | dict[str, Any]]

# The operations of policies, as AutoAugment names them.
GEOMETRIC = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
PER_CHANNEL = ("AutoContrast", "Invert", "Equalize", "Solarize", "Posterize", "Contrast", "Brightness")
BLENDING = ("Color", "Sharpness")
OPERATIONS = (*GEOMETRIC, *PER_CHANNEL, *BLENDING, "Cutout")
# The same under the names with which Fast AutoAugment writes AutoAugment's own lists: lengths in pixels, fewer bits.
ABSOLUTE = {
    "TranslateXAbs": "TranslateX",
    "TranslateYAbs": "TranslateY",
    "Posterize2": "Posterize",
    "CutoutAbs": "Cutout",
}
