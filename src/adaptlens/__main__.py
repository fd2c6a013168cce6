"""`python -m adaptlens`."""

from adaptlens.cli.main import main

main()
