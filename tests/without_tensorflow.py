"""What makes a Python process of a test one without TensorFlow."""

# A sitecustomize.py that makes TensorFlow and its data sets as good as not installed.
WITHOUT_TENSORFLOW = """
import sys
from importlib.machinery import PathFinder
class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = name.split('.')[0] in ('tensorflow', 'tensorflow_datasets')
        return None if hidden else super().find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(PathFinder)] = Without
"""
