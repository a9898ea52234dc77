"""One file a family; each defines `FAMILY`."""
