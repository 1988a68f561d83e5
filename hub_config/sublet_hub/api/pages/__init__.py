"""The api's own web pages: each person's usage, and what a quota admin sees and sets."""
