"""Tools for authors of plugins: a template, a check, and imports that are tried in a process of their own."""
