"""The command line: composes the stages. Nothing imports it."""
