"""Tests on a real cluster: the one that KUBECONFIG names."""

from tests.fixtures.kube import cluster, image, namespace, pytest_runtest_makereport

__all__ = ["cluster", "image", "namespace", "pytest_runtest_makereport"]
