"""Section Tuning of a report: the arms at both settings, the search's cost, and accuracy against each tuned field."""
