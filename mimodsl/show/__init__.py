"""Everything that draws or prints: plans, runs, verdicts, differences, reports."""
