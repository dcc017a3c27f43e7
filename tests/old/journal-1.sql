PRAGMA application_id = 1937008498;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE "_sqlite_migrations" (
   "id" INTEGER PRIMARY KEY,
   "migration_set" TEXT,
   "name" TEXT,
   "applied_at" TEXT
);
INSERT INTO "_sqlite_migrations" VALUES(1,'stagerun','first','2026-11-30 00:51:19.096327+00:00');
CREATE TABLE cancel_requests (
        run_id INTEGER PRIMARY KEY,
        requested_on REAL NOT NULL,
        requested_by TEXT NOT NULL
    ) STRICT
    ;
CREATE TABLE checkpoints (
        run_id INTEGER NOT NULL,
        key TEXT NOT NULL,
        stage TEXT,
        event_run_id INTEGER NOT NULL, -- the event that holds the value, of this run or of one before it
        event_seq INTEGER NOT NULL,
        PRIMARY KEY (run_id, key)
    ) STRICT, WITHOUT ROWID
    ;
INSERT INTO "checkpoints" VALUES(1,'process','Process',1,7);
INSERT INTO "checkpoints" VALUES(1,'rows','Load',1,4);
INSERT INTO "checkpoints" VALUES(2,'process','Process',1,7);
INSERT INTO "checkpoints" VALUES(2,'rows','Load',1,4);
INSERT INTO "checkpoints" VALUES(3,'process','Process',3,7);
INSERT INTO "checkpoints" VALUES(3,'rows','Load',3,4);
INSERT INTO "checkpoints" VALUES(3,'saved','Save',3,11);
CREATE TABLE events (
        run_id INTEGER NOT NULL,
        seq INTEGER NOT NULL,         -- strictly rising along a run, and on along its chain
        time REAL NOT NULL,
        kind TEXT NOT NULL,
        data TEXT NOT NULL,           -- JSON object
        PRIMARY KEY (run_id, seq)
    ) STRICT, WITHOUT ROWID
    ;
INSERT INTO "events" VALUES(1,1,1.79599987915444064138e+09,'run_created','{"target":"shop:Import","recipe":"shop","operation":"Import","stages":["Load","Process","Save"],"owner":"alice","source":"/home/alice/shop/recipes/shop.py","source_hash":"27a3be530148b752af0bab9ac387721cebd90eefc2a7836a4157501169b699fc","params":{"limit":5},"host":"ship","boot_id":"0b0e1f6c-0000-4000-8000-000000000000","pid_namespace":"pid:[4026531836]","pid":28462,"process_started":1475500.0,"chained_from":null,"resumed_from":null,"root":null,"attempt":1,"expected":{},"done_before":[],"inherited":{}}');
INSERT INTO "events" VALUES(1,2,1.79599987918469810484e+09,'run_started','{}');
INSERT INTO "events" VALUES(1,3,1.79599987919594526286e+09,'stage_entered','{"stage":"Load","index":0}');
INSERT INTO "events" VALUES(1,4,1.79599987923006534579e+09,'checkpoint_stored','{"key":"rows","stage":"Load","value":[0,1,2,3,4]}');
INSERT INTO "events" VALUES(1,5,1.79599987924033069612e+09,'stage_left','{"stage":"Load","index":0,"state":"done","seconds":0.03607481600010942}');
INSERT INTO "events" VALUES(1,6,1.79599987924734091765e+09,'stage_entered','{"stage":"Process","index":1}');
INSERT INTO "events" VALUES(1,7,1.79599987925807881355e+09,'position_reached','{"key":"process","stage":"Process","position":3}');
INSERT INTO "events" VALUES(1,8,1.7959998792595534325e+09,'progress','{"done":3,"total":5,"percent":60.0,"label":null,"unit":"item","skipped":0,"seconds":0.001580313999511418,"depth":0,"ended":true}');
INSERT INTO "events" VALUES(1,9,1.7959998792607154846e+09,'stage_left','{"stage":"Process","index":1,"state":"failed","seconds":0.002804149000439793}');
INSERT INTO "events" VALUES(1,10,1.79599987926955866816e+09,'run_finished','{"state":"failed","seconds":0.08459379099986108,"exit_code":1,"signal":null,"error":{"type":"ValueError","message":"boom","stage":"Process","traceback":"Traceback (most recent call last):\n  File \"/home/alice/shop/recipes/shop.py\", line 15, in run\n    raise ValueError(\"boom\")\nValueError: boom","file":"/home/alice/shop/recipes/shop.py","line":15},"chained_to":null}');
INSERT INTO "events" VALUES(2,1,1.79599988012757349011e+09,'run_created','{"target":"shop:Import","recipe":"shop","operation":"Import","stages":["Load","Process","Save"],"owner":"alice","source":"/home/alice/shop/recipes/shop.py","source_hash":"27a3be530148b752af0bab9ac387721cebd90eefc2a7836a4157501169b699fc","params":{"limit":5},"host":"ship","boot_id":"0b0e1f6c-0000-4000-8000-000000000000","pid_namespace":"pid:[4026531836]","pid":28484,"process_started":1475640.0,"chained_from":null,"resumed_from":1,"root":1,"attempt":2,"expected":{},"done_before":["Load"],"inherited":{"rows":[1,4],"process":[1,7]}}');
INSERT INTO "events" VALUES(2,2,1.79599988014844512938e+09,'run_started','{}');
INSERT INTO "events" VALUES(2,3,1.7959998801808853149e+09,'stage_entered','{"stage":"Load","index":0}');
INSERT INTO "events" VALUES(2,4,1.79599988022692394259e+09,'stage_left','{"stage":"Load","index":0,"state":"done","seconds":0.03602767799930007}');
INSERT INTO "events" VALUES(2,5,1.79599988023011469841e+09,'stage_entered','{"stage":"Process","index":1}');
INSERT INTO "events" VALUES(2,6,1.79599988023143076901e+09,'progress','{"done":3,"total":5,"percent":60.0,"label":null,"unit":"item","skipped":3,"seconds":0.00007957900015753694,"depth":0,"ended":true}');
INSERT INTO "events" VALUES(2,7,1.79599988023158526426e+09,'stage_left','{"stage":"Process","index":1,"state":"failed","seconds":0.00044526499914354645}');
INSERT INTO "events" VALUES(2,8,1.79599988028778266907e+09,'run_finished','{"state":"failed","seconds":0.13907072999973025,"exit_code":1,"signal":null,"error":{"type":"ValueError","message":"boom","stage":"Process","traceback":"Traceback (most recent call last):\n  File \"/home/alice/shop/recipes/shop.py\", line 15, in run\n    raise ValueError(\"boom\")\nValueError: boom","file":"/home/alice/shop/recipes/shop.py","line":15},"chained_to":null}');
INSERT INTO "events" VALUES(3,1,1.79599988159094715121e+09,'run_created','{"target":"shop:Import","recipe":"shop","operation":"Import","stages":["Load","Process","Save"],"owner":"alice","source":"/home/alice/shop/recipes/shop.py","source_hash":"27a3be530148b752af0bab9ac387721cebd90eefc2a7836a4157501169b699fc","params":{"limit":2},"host":"ship","boot_id":"0b0e1f6c-0000-4000-8000-000000000000","pid_namespace":"pid:[4026531836]","pid":28548,"process_started":1475736.0,"chained_from":null,"resumed_from":null,"root":null,"attempt":1,"expected":{},"done_before":[],"inherited":{}}');
INSERT INTO "events" VALUES(3,2,1.79599988162948513031e+09,'run_started','{}');
INSERT INTO "events" VALUES(3,3,1.7959998816329984665e+09,'stage_entered','{"stage":"Load","index":0}');
INSERT INTO "events" VALUES(3,4,1.79599988165124344824e+09,'checkpoint_stored','{"key":"rows","stage":"Load","value":[0,1]}');
INSERT INTO "events" VALUES(3,5,1.7959998816721665859e+09,'stage_left','{"stage":"Load","index":0,"state":"done","seconds":0.027879175999260042}');
INSERT INTO "events" VALUES(3,6,1.79599988167672586442e+09,'stage_entered','{"stage":"Process","index":1}');
INSERT INTO "events" VALUES(3,7,1.79599988167779302597e+09,'position_reached','{"key":"process","stage":"Process","position":2}');
INSERT INTO "events" VALUES(3,8,1.79599988168417668346e+09,'progress','{"done":2,"total":2,"percent":100.0,"label":null,"unit":"item","skipped":0,"seconds":0.006389073001628276,"depth":0,"ended":true}');
INSERT INTO "events" VALUES(3,9,1.79599988168438220027e+09,'stage_left','{"stage":"Process","index":1,"state":"done","seconds":0.0066553920005389955}');
INSERT INTO "events" VALUES(3,10,1.79599988168610906601e+09,'stage_entered','{"stage":"Save","index":2}');
INSERT INTO "events" VALUES(3,11,1.79599988169228434557e+09,'checkpoint_stored','{"key":"saved","stage":"Save","value":true}');
INSERT INTO "events" VALUES(3,12,1.79599988169356346127e+09,'stage_left','{"stage":"Save","index":2,"state":"done","seconds":0.0013461649996315828}');
INSERT INTO "events" VALUES(3,13,1.79599988169620180134e+09,'result_set','{"result":{"rows":[0,1]}}');
INSERT INTO "events" VALUES(3,14,1.79599988169828915594e+09,'run_finished','{"state":"succeeded","seconds":0.06880524099869945,"exit_code":0,"signal":null,"error":null,"chained_to":null}');
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
    ;
INSERT INTO "runs" VALUES(1,'shop:Import','shop','Import','/home/alice/shop/recipes/shop.py','27a3be530148b752af0bab9ac387721cebd90eefc2a7836a4157501169b699fc','failed','alice','{"limit":5}','["Load","Process","Save"]',1,'{"Load":"done","Process":"failed","Save":"pending"}',60.0,'{"done":3,"total":5,"percent":60.0,"label":null,"unit":"item","skipped":0,"seconds":0.001580313999511418,"depth":0,"ended":true}',NULL,NULL,NULL,'{"type":"ValueError","message":"boom","stage":"Process","traceback":"Traceback (most recent call last):\n  File \"/home/alice/shop/recipes/shop.py\", line 15, in run\n    raise ValueError(\"boom\")\nValueError: boom","file":"/home/alice/shop/recipes/shop.py","line":15}',1.79599987915444064138e+09,1.79599987918469810484e+09,1.79599987926955866816e+09,8.4593790999861084856e-02,1,NULL,NULL,NULL,NULL,1,1,'{}','[]','ship','0b0e1f6c-0000-4000-8000-000000000000','pid:[4026531836]',28462,1475500.0,1.79599987926967072492e+09);
INSERT INTO "runs" VALUES(2,'shop:Import','shop','Import','/home/alice/shop/recipes/shop.py','27a3be530148b752af0bab9ac387721cebd90eefc2a7836a4157501169b699fc','failed','alice','{"limit":5}','["Load","Process","Save"]',1,'{"Load":"done","Process":"failed","Save":"pending"}',60.0,'{"done":3,"total":5,"percent":60.0,"label":null,"unit":"item","skipped":3,"seconds":0.00007957900015753694,"depth":0,"ended":true}',NULL,NULL,NULL,'{"type":"ValueError","message":"boom","stage":"Process","traceback":"Traceback (most recent call last):\n  File \"/home/alice/shop/recipes/shop.py\", line 15, in run\n    raise ValueError(\"boom\")\nValueError: boom","file":"/home/alice/shop/recipes/shop.py","line":15}',1.79599988012757349011e+09,1.79599988014844512938e+09,1.79599988028778266907e+09,1.39070729999730247072e-01,1,NULL,NULL,NULL,1,1,2,'{}','["Load"]','ship','0b0e1f6c-0000-4000-8000-000000000000','pid:[4026531836]',28484,1475640.0,1.79599988028790473939e+09);
INSERT INTO "runs" VALUES(3,'shop:Import','shop','Import','/home/alice/shop/recipes/shop.py','27a3be530148b752af0bab9ac387721cebd90eefc2a7836a4157501169b699fc','succeeded','alice','{"limit":2}','["Load","Process","Save"]',2,'{"Load":"done","Process":"done","Save":"done"}',NULL,NULL,NULL,NULL,'{"rows":[0,1]}',NULL,1.79599988159094715121e+09,1.79599988162948513031e+09,1.79599988169828915594e+09,6.88052409986994462087e-02,0,NULL,NULL,NULL,NULL,3,1,'{}','[]','ship','0b0e1f6c-0000-4000-8000-000000000000','pid:[4026531836]',28548,1475736.0,1.79599988169836616517e+09);
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
    ;
INSERT INTO "stages" VALUES(1,0,'Load','done',3.60748160001094220206e-02,1.79599987919594526286e+09,1);
INSERT INTO "stages" VALUES(1,1,'Process','failed',2.80414900043979287147e-03,1.79599987924734091765e+09,1);
INSERT INTO "stages" VALUES(1,2,'Save','pending',0.0,NULL,0);
INSERT INTO "stages" VALUES(2,0,'Load','done',3.6027677999300067313e-02,1.7959998801808853149e+09,1);
INSERT INTO "stages" VALUES(2,1,'Process','failed',4.45264999143546447157e-04,1.79599988023011469841e+09,1);
INSERT INTO "stages" VALUES(2,2,'Save','pending',0.0,NULL,0);
INSERT INTO "stages" VALUES(3,0,'Load','done',2.78791759992600418627e-02,1.7959998816329984665e+09,1);
INSERT INTO "stages" VALUES(3,1,'Process','done',6.65539200053899548947e-03,1.79599988167672586442e+09,1);
INSERT INTO "stages" VALUES(3,2,'Save','done',1.34616499963158275932e-03,1.79599988168610906601e+09,1);
CREATE UNIQUE INDEX "idx__sqlite_migrations_migration_set_name"
    ON "_sqlite_migrations" ("migration_set", "name");
CREATE UNIQUE INDEX runs_by_resumed_from ON runs (resumed_from) WHERE resumed_from IS NOT NULL;
CREATE INDEX runs_by_state ON runs (state);
CREATE INDEX runs_by_operation ON runs (operation, state);
CREATE INDEX runs_by_target ON runs (target, state);
CREATE INDEX runs_by_owner ON runs (owner, state);
CREATE INDEX runs_by_created_on ON runs (created_on);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('runs',3);
COMMIT;
