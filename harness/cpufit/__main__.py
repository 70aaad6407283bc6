"""`python -m cpufit` is `cpufit`."""

from cpufit.cli import main

main()
