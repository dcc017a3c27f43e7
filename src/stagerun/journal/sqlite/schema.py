"""The tables of the journal in an SQLite file, and the migrations that lead to them from those of earlier releases.

sqlite-utils applies migrations and is imported only for an outdated file, because that import costs more than a run.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final


if TYPE_CHECKING:
    import sqlite3

    from sqlite_utils import Database

APPLICATION_ID: Final = 0x73746772  # "stgr", in the file's header (sqlite.org/fileformat2.html, offset 68)
FIRST_TABLES: Final = ("runs", "stages", "events", "checkpoints", "cancel_requests")  # of the first release
TABLES: Final = (*FIRST_TABLES, "tags")


# Tables of the first release: the events, which are the source of truth, and their projections.
_FIRST: Final = (
    """
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        target TEXT NOT NULL,
        recipe TEXT NOT NULL,
        operation TEXT NOT NULL,
        source TEXT,
        source_hash TEXT,
        state TEXT NOT NULL,
        owner TEXT NOT NULL,
        params TEXT NOT NULL,         -- JSON object
        stages TEXT NOT NULL,         -- JSON array of names
        current_stage INTEGER NOT NULL,
        stage_states TEXT NOT NULL,   -- JSON object: name -> state
        percent REAL,
        progress TEXT,                -- JSON object
        status_text TEXT,
        status_level TEXT,
        result_context TEXT,          -- JSON object
        error TEXT,                   -- JSON object
        created_on REAL NOT NULL,     -- all times in seconds since 1970
        started_on REAL,
        finished_on REAL,
        seconds REAL,
        exit_code INTEGER,
        signal TEXT,
        chained_from INTEGER,
        chained_to INTEGER,
        resumed_from INTEGER,
        root INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        expected TEXT NOT NULL,       -- JSON object: stage -> seconds
        done_before TEXT NOT NULL,    -- JSON array of names
        host TEXT NOT NULL,
        boot_id TEXT NOT NULL,
        pid_namespace TEXT NOT NULL,
        pid INTEGER NOT NULL,
        process_started REAL NOT NULL,
        seen_on REAL NOT NULL         -- the last sign of life
    ) STRICT
    """,
    # At most one run resumes another: of two simultaneous resumes, one wins.
    "CREATE UNIQUE INDEX runs_by_resumed_from ON runs (resumed_from) WHERE resumed_from IS NOT NULL",
    # Runs are read newest first: index entries with equal columns are in the order of the ids.
    "CREATE INDEX runs_by_state ON runs (state)",
    "CREATE INDEX runs_by_operation ON runs (operation, state)",
    "CREATE INDEX runs_by_target ON runs (target, state)",
    "CREATE INDEX runs_by_owner ON runs (owner, state)",
    "CREATE INDEX runs_by_created_on ON runs (created_on)",
    """
    CREATE TABLE stages (
        run_id INTEGER NOT NULL,
        position INTEGER NOT NULL,
        name TEXT NOT NULL,
        state TEXT NOT NULL,
        seconds REAL NOT NULL,
        entered_on REAL,
        visits INTEGER NOT NULL,
        PRIMARY KEY (run_id, position)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE events (
        run_id INTEGER NOT NULL,
        seq INTEGER NOT NULL,         -- strictly rising along a run, and on along its chain
        time REAL NOT NULL,
        kind TEXT NOT NULL,
        data TEXT NOT NULL,           -- JSON object
        PRIMARY KEY (run_id, seq)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE checkpoints (
        run_id INTEGER NOT NULL,
        key TEXT NOT NULL,
        stage TEXT,
        event_run_id INTEGER NOT NULL, -- the event that holds the value, of this run or of one before it
        event_seq INTEGER NOT NULL,
        PRIMARY KEY (run_id, key)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE cancel_requests (
        run_id INTEGER PRIMARY KEY,
        requested_on REAL NOT NULL,
        requested_by TEXT NOT NULL
    ) STRICT
    """,
)

# A run knows where it was started; a key has several parts, and what a plan says of them; a stage can be taken over.
_SECOND: Final = (
    "ALTER TABLE runs ADD COLUMN project TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE runs ADD COLUMN folder TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE runs ADD COLUMN work TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE stages ADD COLUMN from_run INTEGER",
    "ALTER TABLE checkpoints RENAME TO old_checkpoints",
    """
    CREATE TABLE checkpoints (
        run_id INTEGER NOT NULL,
        key TEXT NOT NULL,
        part INTEGER NOT NULL,        -- a map stores its results in parts; every other call has part 0
        call TEXT NOT NULL,           -- checkpoint, step, sh, track, map
        stage TEXT,
        inside TEXT,                  -- the key of the call or loop around it
        item INTEGER,                 -- the position in the loop around it
        done INTEGER,                 -- finished items: of a loop from its first on, of a map in this part
        total INTEGER,
        stages TEXT,                  -- JSON array: the stages that were entered inside a loop
        event_run_id INTEGER NOT NULL, -- the event that holds the value, of this run or of one before it
        event_seq INTEGER NOT NULL,
        PRIMARY KEY (run_id, key, part)
    ) STRICT, WITHOUT ROWID
    """,
    """
    INSERT INTO checkpoints (run_id, key, part, call, stage, done, event_run_id, event_seq)
    SELECT old.run_id, key, 0, CASE kind WHEN 'position_reached' THEN 'track' ELSE 'checkpoint' END, stage,
        json_extract(data, '$.position'), event_run_id, event_seq
    FROM old_checkpoints AS old JOIN events ON events.run_id = event_run_id AND events.seq = event_seq
    """,
    "DROP TABLE old_checkpoints",
)

# A run can work at another place, be found by its tags, and have a name under which only one may succeed; a stage may
# have had nothing to do.
_THIRD: Final = (
    "ALTER TABLE runs ADD COLUMN place TEXT",
    "ALTER TABLE runs ADD COLUMN worker TEXT",  # JSON object
    "ALTER TABLE stages ADD COLUMN skipped TEXT",
    "ALTER TABLE runs ADD COLUMN tags TEXT NOT NULL DEFAULT '[]'",  # JSON array of names
    "ALTER TABLE runs ADD COLUMN once TEXT",
    "CREATE INDEX runs_by_once ON runs (once) WHERE once IS NOT NULL",
    """
    CREATE TABLE tags (
        tag TEXT NOT NULL,
        run_id INTEGER NOT NULL,
        PRIMARY KEY (tag, run_id)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX tags_by_run ON tags (run_id)",
)


def first(db: "Database") -> None:
    """Create the tables of the first release."""
    for statement in _FIRST:
        db.execute(statement)


def second(db: "Database") -> None:
    """Add what a resumed run needs to be right without thinking."""
    for statement in _SECOND:
        db.execute(statement)


def third(db: "Database") -> None:
    """Add where a run works, why a stage was skipped, tags, and names under which only one run may succeed."""
    for statement in _THIRD:
        db.execute(statement)


MIGRATIONS: Final[tuple[Callable[["Database"], None], ...]] = (first, second, third)
VERSION: Final = len(MIGRATIONS)


def migrate(connection: "sqlite3.Connection") -> None:
    """Give a file the tables of this version, inside of a transaction."""
    from sqlite_utils import Database, Migrations

    migrations = Migrations("stagerun")
    for migration in MIGRATIONS:
        migrations()(migration)
    migrations.apply(Database(connection, recursive_triggers=False, execute_plugins=False))
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {VERSION}")
