"""The command line of fine-tunes."""
