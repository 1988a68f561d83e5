"""Smoke tests of our images, as pods on a real cluster."""

from tests.fixtures.kube import cluster, image, namespace, pytest_runtest_makereport

__all__ = ["cluster", "image", "namespace", "pytest_runtest_makereport"]
