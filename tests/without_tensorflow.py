"""What makes a Python process of a test one without TensorFlow."""

# A sitecustomize.py whose import hook makes TensorFlow and its data sets as good as not installed.
WITHOUT_TENSORFLOW = """
import sys
class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('tensorflow', 'tensorflow_datasets'):
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)
sys.meta_path.insert(0, Forbidden())
"""
