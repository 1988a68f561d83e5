"""What runs: leases as processes on one machine (and, behind the same Protocol, as pods)."""
