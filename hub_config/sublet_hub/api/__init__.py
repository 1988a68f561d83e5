"""The api process: decides and records over HTTP, and serves the web pages."""
