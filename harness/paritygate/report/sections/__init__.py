"""One section a file: each module defines `SECTION`. A file added here or by an extension is in the report."""
