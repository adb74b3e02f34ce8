"""python -m server: the same as kelvin."""

from server.cli import main

main()
