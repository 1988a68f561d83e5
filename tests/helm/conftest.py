"""The chart without a cluster, and, for the tests that need one, the cluster that KUBECONFIG names."""

from tests.fixtures.kube import cluster, image, namespace, pytest_runtest_makereport

__all__ = ["cluster", "image", "namespace", "pytest_runtest_makereport"]
