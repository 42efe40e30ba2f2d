"""Gradient comparison at the command line: the table of ops, and what gradient checkers find and miss."""
