"""Search for augmentation policies by density matching, Fast AutoAugment's method, on a table of all policies.

Lim et al., https://arxiv.org/abs/1905.00397: networks are trained on parts of the training images, and policies are
judged by how well these networks recognize the other images after augmentation.
"""
