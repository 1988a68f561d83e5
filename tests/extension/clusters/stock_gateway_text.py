"""What the gateway of `stock_gateway` refuses, and in which words."""

REFUSED = "9 more can't be had now. The limit of 2 GPUs at once is reached. 0 more workers would fit."
NEVER = "never"
"""A flavor of which there may be no cluster."""
