"""Update rules: how gradients change weights."""
