"""The meter: watches what really runs, posts its use, warns, and arms deadlines. Safe to kill at any point."""
