"""One file a metric; each defines `METRIC`, a pure function of the golden and the candidate's value."""
