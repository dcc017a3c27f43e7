"""What SQLite alone takes: Python source for processes that commit rows as the journal does."""

# As `stagerun.journal.sqlite.files` opens it: the same table, write-ahead log and durability. A row is as long as that
# of a stage event.
# Arguments: file, number of units, commits per unit, tables that get a row in each commit, seconds of work before it.
COMMITS = """
import os, sqlite3, sys, time

path, units, commits, tables, pause = sys.argv[1], *map(int, sys.argv[2:5]), float(sys.argv[5])
connection = sqlite3.connect(path, timeout=30, isolation_level=None)
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("PRAGMA synchronous = FULL")
connection.execute("PRAGMA fullfsync = 1")
also = ("runs", "stages")[: tables - 1]
for table in ("events", *also):
    connection.execute(
        f"CREATE TABLE IF NOT EXISTS {table} (run_id INTEGER NOT NULL, seq INTEGER NOT NULL, time REAL NOT NULL,"
        " kind TEXT NOT NULL, data TEXT NOT NULL, PRIMARY KEY (run_id, seq)) STRICT, WITHOUT ROWID"
    )
run = os.getpid()
for seq in range(units * commits):
    rest = time.perf_counter() + pause
    while time.perf_counter() < rest:
        pass
    connection.execute("BEGIN IMMEDIATE")
    row = (run, seq, time.time(), "stage_entered", '{"stage":"Stage 1000","index":1000}')
    connection.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?)", row)
    for table in also:
        row = (run, 0, time.time(), "running", "x" * 400)
        connection.execute(f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?, ?, ?)", row)
    connection.execute("COMMIT")
connection.close()
"""
