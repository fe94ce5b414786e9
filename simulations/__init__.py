"""Many sites on one machine: engines, jobs, scoring, the `simulate` command."""
