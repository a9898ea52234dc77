"""What a candidate's program says of its precision, without running it."""
