"""The names of a network's classes, and where they come from."""

from cifarzoo.data.classes import CLASS_NAMES
from cifarzoo.evaluation.load_model import LoadedModel


def class_names_of(loaded: LoadedModel) -> tuple[tuple[str, ...], str]:
    """Return the names of a network's classes, and one line about them unless they are certain, else "".

    They are those in the weight file, for images of the user's own; else those of the data set that it was trained on;
    else those of the built-in data set with as many classes; else the numbers of the outputs.
    """
    outputs = loaded.model.output_shape[-1]
    described = loaded.description and loaded.description.class_names
    if described and len(described) == outputs:
        return tuple(described), ""
    names = CLASS_NAMES.get(loaded.dataset, ((), None))[0]
    if len(names) != outputs:
        return tuple(map(str, range(outputs))), f"{loaded.name}: does not say what its classes are; they are numbered"
    if loaded.is_guess:
        return names, f"{loaded.name}: does not say what its classes are; those of {loaded.dataset} are assumed"
    return names, ""
