"""`python -m cpufit` is `cpufit`."""

from cpufit.cli.main import main

main()
