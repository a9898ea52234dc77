"""What a run's numbers mean: verdict, diagnosis, first divergence, gate, comparison of two runs."""
