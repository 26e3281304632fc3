"""First screen of a report: verdicts in short."""
