"""Train the experiments of a YAML file: `python run_experiments.py [FILE]`, the same as `cifarzoo train`."""

import sys

from cifarzoo.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "train")
    main()
