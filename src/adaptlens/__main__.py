"""`python -m adaptlens`."""

from adaptlens.cli import main

main()
