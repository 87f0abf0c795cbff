"""The command line: the command tree, and what it prints."""
