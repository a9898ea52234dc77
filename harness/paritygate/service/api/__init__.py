"""JSON, under `/api`: one router a file, `ROUTER`."""
