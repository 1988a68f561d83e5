"""Leases as pods on Kubernetes: what the meter and the spawner know of them."""
