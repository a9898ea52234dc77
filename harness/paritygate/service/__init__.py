"""The service: a team's runs, history, jobs and gate in one place. See README.md."""
