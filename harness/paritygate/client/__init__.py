"""Talking to a service: runs, rows and gates in Python, uploads, and the worker. See README.md."""
