"""`python -m cifarzoo` is the command line."""

from cifarzoo.cli import main

main()
