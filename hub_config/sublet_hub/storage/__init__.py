"""What Sublet records: one store behind one Protocol, in memory, on SQLite and on PostgreSQL."""
