"""What a candidate's traced program says of its precision, and what it would compute in another arithmetic."""
