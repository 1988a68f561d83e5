"""`sublet up`: the whole platform on one machine, as children of one process that starts them again if they
die."""
