"""What a notebook on Sublet imports."""
