"""A run afterwards: documents, tables, exports. Nothing here writes to a stream."""
