"""What Sublet knows: amounts, flavors, quotas, leases, the ledger's rules. Pure: no I/O, no clock, no framework."""
