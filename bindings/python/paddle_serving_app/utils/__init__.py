"""Small helpers."""
import numpy as np


class Arr2Image:
    """An array as an image: uint8, HWC."""

    def __call__(self, array):
        return np.asarray(array).astype("uint8")
