"""Dask clusters: Dask-Gateway, with each worker a lease of ours."""
