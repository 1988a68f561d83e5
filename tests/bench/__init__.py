"""What `make bench` measures: ratios within one run, so that they hold on any machine."""
