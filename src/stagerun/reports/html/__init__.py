"""Runs as HTML: templates, their style and script, and the functions that fill them. No server, no SQL.

Each region of a page is one macro of `templates/regions.html`; the page, its live messages and the report use the same.
"""
