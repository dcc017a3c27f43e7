"""Reports on recorded runs: documents, tables, exports. Nothing here writes to a stream."""
