"""The store on SQLite and PostgreSQL: statements built with SQLAlchemy Core, run on the driver."""
