"""HTML without JavaScript: one router a file, `ROUTER`."""
