"""Our side of JupyterHub: configuration, spawners, hooks and templates."""
