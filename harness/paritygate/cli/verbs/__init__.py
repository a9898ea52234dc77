"""One verb a file: each module defines `VERB`. Stages are imported inside functions, so that `--help` starts light."""
