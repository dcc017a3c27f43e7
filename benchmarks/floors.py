"""What SQLite alone takes: Python source for processes that commit rows as the journal does."""

# As `stagerun.schema` opens it: the same table, write-ahead log and durability; a row as long as that of a stage event.
COMMITS = """
import os, sqlite3, sys, time

path, units, commits = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
connection = sqlite3.connect(path, timeout=30, isolation_level=None)
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("PRAGMA synchronous = FULL")
connection.execute("PRAGMA fullfsync = 1")
connection.execute(
    "CREATE TABLE IF NOT EXISTS events (run_id INTEGER NOT NULL, seq INTEGER NOT NULL, time REAL NOT NULL,"
    " kind TEXT NOT NULL, data TEXT NOT NULL, PRIMARY KEY (run_id, seq)) STRICT, WITHOUT ROWID"
)
run = os.getpid()
for seq in range(units * commits):
    connection.execute("BEGIN IMMEDIATE")
    row = (run, seq, time.time(), "stage_entered", '{"stage":"Stage 1000","index":1000}')
    connection.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?)", row)
    connection.execute("COMMIT")
connection.close()
"""
