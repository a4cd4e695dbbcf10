"""Train the experiments of a YAML file: `python run_experiments.py [FILE]` is `cifarzoo train [FILE]`."""

import sys

from cifarzoo.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "train")
    main()
