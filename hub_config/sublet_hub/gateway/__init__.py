"""The gateway: an OpenAI-compatible address before the model servers. Who asks, may they, how many tokens."""
