//! Adopting a `metadata_stamps` of another program: every row kept, whole or not at all.

pub mod shapes;

use serde_json::{Value, json};
use stampd::cli::exit::Exit;
use stampd::cli::migrate::{Report, run};
use stampd::model::batch::Entry;
use stampd::store::adopt::{AdoptError, Stage};
use stampd::store::migrate::MigrateError;
use stampd::store::streams::{Gaps, append};
use tokio_postgres::Client;

use crate::support::postgres::{Address, Database};
use crate::support::record::{Record, config, piece, session, stream};
use crate::support::wait::wait_for_async;
use shapes::{ADAPTER, ALL, BARE, Published, SERIAL, SERVICE};

async fn migrate(address: &Address, check: bool) -> Result<Report, MigrateError> {
    run(&config(address), check, &mut |_| ()).await
}

/// A database with this in it.
fn given(sql: &str) -> Database {
    let database = Database::create();
    database.batch(sql);
    database
}

/// Everything in `public`, with the columns, the defaults and the definitions, and what is in the
/// table of stamps, to compare before with after.
async fn shape(database: &Database) -> Vec<String> {
    let client = database.admin().connect().await;
    let query = "
        SELECT format('%s %s %s', relname, relkind, relacl) FROM pg_class
        WHERE relnamespace = 'public'::regnamespace
        UNION ALL SELECT format('%s.%s %s %s', c.relname, a.attname,
            format_type(a.atttypid, a.atttypmod), pg_get_expr(d.adbin, d.adrelid))
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE relnamespace = 'public'::regnamespace AND a.attnum > 0
        UNION ALL SELECT conname || pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace
        UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        UNION ALL SELECT pg_get_indexdef(indexrelid) FROM pg_index
        WHERE indrelid = 'metadata_stamps'::regclass
        UNION ALL SELECT tgname FROM pg_trigger WHERE NOT tgisinternal
        UNION ALL SELECT row_to_json(s)::text FROM metadata_stamps s
        ORDER BY 1";
    client.query(query, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

/// The rows of a query, each as JSON.
async fn rows(client: &Client, query: &str) -> Vec<Value> {
    let query = format!("SELECT to_jsonb(r) FROM ({query}) r");
    client.query(&query, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

async fn count(client: &Client, query: &str) -> i64 {
    client.query_one(query, &[]).await.unwrap().get(0)
}

/// Migrates what `sql` makes, and returns the database with a session on it.
async fn adopted(sql: &str) -> (Database, Client) {
    let database = given(sql);
    migrate(&database.admin(), false).await.unwrap();
    let client = database.admin().connect().await;
    (database, client)
}

fn adoption(report: &Report) -> Value {
    serde_json::to_value(report).unwrap()["adopt"].clone()
}

#[tokio::test]
async fn every_published_table_becomes_the_one_schema_empty_or_full() {
    let fresh = Database::create();
    migrate(&fresh.admin(), false).await.unwrap();
    let wanted = shape(&fresh).await;
    for published in ALL {
        for rows in [0, 100] {
            becomes_ours(published, rows, &wanted).await;
        }
    }
}

async fn becomes_ours(published: &Published, rows: u32, wanted: &[String]) {
    let label = format!("{} with {rows} rows", published.shape);
    let database = given(&published.with_rows(rows));
    let client = database.admin().connect().await;
    let before = shape(&database).await;
    let digests =
        "SELECT coalesce(md5(string_agg(concat(file_hash, namespace, stamp_data, extract(epoch FROM created_at)),
        '' ORDER BY file_hash)), '') FROM metadata_stamps";
    let contents: String = client.query_one(digests, &[]).await.unwrap().get(0);

    let plan = migrate(&database.admin(), true).await.unwrap();
    assert_eq!(plan.exit(), Exit::Degraded, "{label}");
    assert_eq!(shape(&database).await, before, "{label}");
    let done = migrate(&database.admin(), false).await.unwrap();
    assert_eq!(done.exit(), Exit::Fine, "{label}");
    assert_eq!(adoption(&plan), adoption(&done), "{label}: the plan is what was done");
    assert_eq!(adoption(&done)["shape"], published.shape);
    assert_eq!(adoption(&done)["rows_placed"], rows);
    let plan = plan.text().replace("to do", "done").replace("those that fit are", "0");
    assert_eq!(plan, done.text());

    assert_eq!(count(&client, "SELECT count(*) FROM metadata_stamps").await, i64::from(rows));
    let after: String = client.query_one(digests, &[]).await.unwrap().get(0);
    assert_eq!(after, contents, "{label}");
    let again = migrate(&database.admin(), false).await.unwrap();
    assert!(again.text().starts_with("nothing to do"), "{label}");
    assert_eq!(migrate(&database.admin(), true).await.unwrap().exit(), Exit::Fine, "{label}");
    // But for what stood beside it and is none of ours, the schema is that of a new database.
    database.batch(
        "TRUNCATE metadata_stamps; DROP TABLE IF EXISTS workflow_executions_before_stampd, alembic_version;
         DROP FUNCTION IF EXISTS update_updated_at_column()",
    );
    assert_eq!(shape(&database).await, wanted, "{label}");
}

#[tokio::test]
async fn a_row_keeps_what_it_says_and_gets_our_defaults_for_the_rest() {
    let (_database, client) = adopted(&format!(
        "{}; INSERT INTO metadata_stamps VALUES ('22222222-2222-4222-8222-222222222222', repeat('a', 64),
            'legacy words', '[1, \"two\"]', '2025-11-25 04:05:57.123456+00')",
        BARE.table
    ))
    .await;
    assert_eq!(
        rows(&client, "SELECT * FROM metadata_stamps").await,
        [json!({
            "id": "22222222-2222-4222-8222-222222222222",
            "file_hash": "a".repeat(64),
            "file_path": null,
            "file_size": null,
            "content_type": null,
            "namespace": "legacy words",
            "protocol_version": "1.0",
            "metadata_version": "0.1",
            "stamp_data": [1, "two"],
            "intelligence_data": {},
            "file_metadata": {},
            "version": 1,
            "op_id": null,
            "workflow_id": null,
            "created_at": "2025-11-25T04:05:57.123456+00:00",
            "updated_at": "2025-11-25T04:05:57.123456+00:00",
        })]
    );
}

#[tokio::test]
async fn serial_ids_become_uuids_and_times_without_zone_are_utc() {
    let database = given(&format!(
        "{}; INSERT INTO metadata_stamps VALUES
            (7, 'first', NULL, 'a.b.c', NULL, '{{}}', NULL, NULL, '2025-03-30 02:30:00', NULL),
            (8, 'second', 'p', 'a.b.c', '2.0', 'null', '{{\"k\": 1}}', '{{\"mime\": \"x\"}}', NULL, '2025-01-01'),
            (9, 'third', '', 'a.b.c', '2.0', '\"s\"', '[]', '{{\"legacy_id\": 1}}', NULL, NULL),
            (10, 'fourth', '', 'a.b.c', '2.0', '3', '[]', '[4]', NULL, NULL)",
        SERIAL.table
    ));
    // Neither the login's nor the database's zone counts; this hour is missing in that one.
    let name = database.admin().database;
    database.batch(&format!("ALTER DATABASE {name} SET TimeZone = 'Europe/Berlin'"));
    migrate(&database.admin(), false).await.unwrap();
    let client = database.admin().connect().await;
    let query = "SELECT file_hash, file_path, protocol_version, stamp_data, intelligence_data,
            file_metadata, created_at AT TIME ZONE 'UTC' AS created, updated_at = created_at AS same,
            id::text ~ '^.{8}-.{4}-4' AS fresh
        FROM metadata_stamps ORDER BY (file_metadata->>'legacy_id')::int";
    let rows = rows(&client, query).await;
    let [first, second, third, fourth] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!(first["created"], "2025-03-30T02:30:00");
    assert_eq!((&first["protocol_version"], &first["file_path"]), (&json!("1.0"), &Value::Null));
    assert_eq!(first["file_metadata"], json!({"legacy_id": 7}));
    assert_eq!((&first["intelligence_data"], &first["same"]), (&json!({}), &json!(true)));
    assert_eq!(second["created"], "2025-01-01T00:00:00");
    assert_eq!(second["file_metadata"], json!({"legacy_id": 8, "mime": "x"}));
    assert_eq!((&second["stamp_data"], &second["protocol_version"]), (&Value::Null, &json!("2.0")));
    let theirs = json!({"legacy_id": 9, "legacy_file_metadata": {"legacy_id": 1}});
    assert_eq!((&third["file_metadata"], &third["file_path"]), (&theirs, &json!("")));
    let array = json!({"legacy_id": 10, "legacy_file_metadata": [4]});
    assert_eq!((&fourth["file_metadata"], &fourth["fresh"]), (&array, &json!(true)));
    // The sequence belonged to the table.
    let left = "SELECT count(*) FROM pg_sequences WHERE sequencename LIKE 'metadata_stamps%'";
    assert_eq!(count(&client, left).await, 0);
}

#[tokio::test]
async fn a_row_that_does_not_fit_is_kept_whole_with_the_reason() {
    let (database, client) = adopted(&format!(
        "{}; INSERT INTO metadata_stamps (file_hash, stamp_data, namespace, created_at) VALUES
            (repeat('b', 128), '{{\"big\": 12345678901234567890123}}', 'a.b.c', '2025-01-01'),
            (repeat('c', 64), '1', 'a.b.c', '2025-01-02'),
            (repeat('c', 64), '2', 'a.b.c', '2025-01-01'),
            (repeat('c', 64), '3', 'a.b.c', NULL),
            (repeat('c', 64), '4', 'a.b.d', '2025-01-03'),
            (repeat('d', 64), '5', 'a.b.c', 'infinity'),
            (repeat('e', 64), '6', 'a.b.c', '-infinity'),
            (repeat('f', 64), '7', 'a.b.c', '0044-03-15 BC'),
            (repeat('f', 64), '8', 'a.b.c', '1970-01-01'),
            (repeat('f', 64), '9', '', '2261-12-30')",
        ADAPTER.table
    ))
    .await;
    let placed = rows(&client, "SELECT stamp_data AS n FROM metadata_stamps ORDER BY 1").await;
    assert_eq!(placed, [2, 4, 8, 9].map(|n| json!({"n": n})));
    let unplaced = rows(
        &client,
        "SELECT unplaced_reason AS why, stamp_data AS n, file_hash, created_at IS NULL AS timeless
         FROM metadata_stamps_unplaced WHERE jsonb_typeof(stamp_data) = 'number' ORDER BY stamp_data",
    )
    .await;
    let whys: Vec<_> = unplaced.iter().map(|row| (row["n"].clone(), row["why"].clone())).collect();
    let older = "an older row has this content in this namespace and at this path";
    let time = "created_at is a time that no stamp can have";
    let expected = [(1, older), (3, older), (5, time), (6, time), (7, time)];
    assert_eq!(whys, expected.map(|(n, why)| (json!(n), json!(why))));
    assert_eq!(unplaced[1]["timeless"], true);
    let long = "SELECT count(*) FROM metadata_stamps_unplaced WHERE file_hash = repeat('b', 128)
        AND stamp_data::text = '{\"big\": 12345678901234567890123}'
        AND unplaced_reason = 'file_hash has more than 64 characters'";
    assert_eq!(count(&client, long).await, 1);
    assert!(migrate(&database.admin(), false).await.unwrap().text().starts_with("nothing to do"));
}

#[tokio::test]
async fn duplicates_are_told_as_our_index_tells_them() {
    let (_database, client) = adopted(&format!(
        "{}; ALTER TABLE metadata_stamps DROP CONSTRAINT metadata_stamps_file_hash_key;
         ALTER TABLE metadata_stamps ALTER namespace DROP NOT NULL;
         INSERT INTO metadata_stamps (file_hash, file_path, namespace, stamp_data, created_at) VALUES
            ('x', NULL, 'a.b.c', '1', '2025-01-01'), ('x', NULL, 'a.b.c', '2', '2025-01-02'),
            ('x', '', 'a.b.c', '3', '2025-01-03'), ('X', '', 'a.b.c', '4', '2025-01-04'),
            ('x', repeat('p', 9000), 'a.b.c', '5', '2025-01-05'),
            ('x', repeat('p', 9000), 'a.b.c', '6', '2025-01-05'),
            ('y', '', NULL, '7', '2025-01-07'),
            ('y', '', 'omninode.services.metadata', '8', '2025-01-08')",
        SERIAL.table
    ))
    .await;
    let placed = rows(&client, "SELECT stamp_data AS n FROM metadata_stamps ORDER BY 1").await;
    assert_eq!(placed, [1, 3, 4, 5, 7].map(|n| json!({"n": n})));
    let unplaced = "SELECT count(*) FROM metadata_stamps_unplaced";
    assert_eq!(count(&client, unplaced).await, 3);
}

/// A table near the published ones: other types, no keys, columns that nobody knows.
const VARIANT: &str = r#"
    CREATE EXTENSION citext;
    CREATE DOMAIN stamp_json AS json;
    CREATE TYPE mood AS ENUM ('fine');
    CREATE TABLE metadata_stamps (
        id varchar(100), "odd ""name'" text, file_hash citext, file_size numeric,
        namespace char(20), stamp_data stamp_json, version bigint, op_id text,
        created_at date, score double precision, tags text[], raw bytea, note json, how mood,
        file_path name, seen timestamptz, gone int, metadata_version int,
        twice text GENERATED ALWAYS AS (upper("odd ""name'")) STORED);
    ALTER TABLE metadata_stamps DROP COLUMN gone;
    INSERT INTO metadata_stamps VALUES ('stamp_1', 'it''s "odd"', 'AbC', 12, 'a.b.c', '{"a": 1}', 3,
        'none', '2025-02-03', 'NaN', '{x,y}', '\x00ff', '{"z": "\u0000"}', 'fine', 'p',
        '2025-02-03 04:05:06+02', 5);
    INSERT INTO metadata_stamps (id, file_hash, version, op_id) VALUES
        ('33333333-3333-4333-8333-333333333333', 'two', NULL, 'A3333333-3333-4333-8333-333333333333'),
        ('33333333-3333-4333-8333-333333333333', 'three', 2, NULL), (NULL, 'four', 2, NULL),
        (NULL, 'ten', 3000000000, NULL);
    INSERT INTO metadata_stamps (file_hash, file_size) VALUES
        ('five', 0.5), ('six', 'NaN'), ('seven', -1), ('eight', 1e30), (NULL, 1);
    INSERT INTO metadata_stamps (file_hash, stamp_data) VALUES ('nine', '{"z": "\u0000"}')"#;

#[tokio::test]
async fn a_near_variant_is_adopted_with_every_column() {
    let (_database, client) = adopted(VARIANT).await;
    let query = "SELECT * FROM metadata_stamps ORDER BY file_hash";
    let rows = rows(&client, query).await;
    let [first, four, three, two] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!(
        first["file_metadata"],
        json!({"legacy_id": "stamp_1", "legacy_columns": {
            "odd \"name'": "it's \"odd\"", "twice": "IT'S \"ODD\"", "op_id": "none", "score": "NaN",
            "tags": "{x,y}", "raw": "\\x00ff", "note": "{\"z\": \"\\u0000\"}", "how": "fine",
            "seen": "2025-02-03T02:05:06+00:00", "metadata_version": 5,
        }})
    );
    assert_eq!((&first["file_hash"], &first["namespace"]), (&json!("AbC"), &json!("a.b.c")));
    assert_eq!((&first["file_size"], &first["version"]), (&json!(12), &json!(3)));
    assert_eq!((&first["stamp_data"], &first["op_id"]), (&json!({"a": 1}), &Value::Null));
    assert_eq!(first["created_at"], "2025-02-03T00:00:00+00:00");
    assert_eq!(first["metadata_version"], "0.1");
    assert_eq!(two["op_id"], "a3333333-3333-4333-8333-333333333333");
    assert_eq!(
        (&two["namespace"], &two["version"]),
        (&json!("omninode.services.metadata"), &json!(1))
    );
    // Of two rows with one id, one keeps it.
    let theirs = json!("33333333-3333-4333-8333-333333333333");
    let (kept, other) = if two["id"] == theirs { (two, three) } else { (three, two) };
    assert_eq!((&kept["id"], &kept["file_metadata"]["legacy_id"]), (&theirs, &Value::Null));
    assert_eq!(other["file_metadata"]["legacy_id"], theirs);
    assert_eq!(four["file_metadata"], json!({"legacy_columns": {}}));

    let whys = "SELECT unplaced_reason AS why, count(*) AS n FROM metadata_stamps_unplaced
        GROUP BY 1 ORDER BY 1";
    let number = |name| format!("{name} is no whole number that the column holds");
    assert_eq!(
        self::rows(&client, whys).await,
        [
            json!({"why": "file_hash is NULL", "n": 1}),
            json!({"why": number("file_size"), "n": 4}),
            json!({"why": "stamp_data holds what JSONB cannot", "n": 1}),
            json!({"why": number("version"), "n": 1}),
        ]
    );
    let nul = r#"SELECT count(*) FROM metadata_stamps_unplaced WHERE stamp_data::text = '{"z": "\u0000"}'"#;
    assert_eq!(count(&client, nul).await, 1);
}

#[tokio::test]
async fn a_table_in_partitions_is_adopted() {
    let (_database, client) = adopted(
        "CREATE TABLE metadata_stamps (
            id uuid, file_hash text, namespace text, stamp_data jsonb, created_at timestamptz,
            PRIMARY KEY (id, created_at)) PARTITION BY RANGE (created_at);
         CREATE TABLE stamps_old PARTITION OF metadata_stamps FOR VALUES FROM (MINVALUE) TO ('2025-01-01');
         CREATE TABLE stamps_new PARTITION OF metadata_stamps FOR VALUES FROM ('2025-01-01') TO (MAXVALUE);
         INSERT INTO metadata_stamps SELECT '44444444-4444-4444-8444-444444444444', h, 'a.b.c', '{}', at
         FROM unnest(ARRAY['x', 'y', 'z', 'z'], ARRAY['2024-06-01', '2025-06-01', '2024-01-01',
            '2025-01-02']::timestamptz[]) AS t (h, at)",
    )
    .await;
    let query = "SELECT file_hash AS h, extract(year FROM created_at) AS at FROM metadata_stamps ORDER BY 1";
    let years = [("x", 2024), ("y", 2025), ("z", 2024)];
    assert_eq!(rows(&client, query).await, years.map(|(h, at)| json!({"h": h, "at": at})));
    assert_eq!(count(&client, "SELECT count(DISTINCT id) FROM metadata_stamps").await, 3);
    assert_eq!(count(&client, "SELECT count(*) FROM metadata_stamps_unplaced").await, 1);
    let left =
        "SELECT count(*) FROM pg_class WHERE relname LIKE 'stamps_%' OR relname ~ 'adopting'";
    assert_eq!(count(&client, left).await, 0);
}

#[tokio::test]
async fn what_hangs_on_the_table_is_named_and_nothing_is_changed() {
    for (obstacle, name) in [
        ("CREATE VIEW recent AS SELECT count(*) FROM metadata_stamps", "view public.recent"),
        ("CREATE MATERIALIZED VIEW m AS SELECT id FROM metadata_stamps", "view public.m"),
        (
            "CREATE TABLE notes (stamp int REFERENCES metadata_stamps (id))",
            "constraint notes_stamp_fkey on table public.notes",
        ),
        ("CREATE TABLE more () INHERITS (metadata_stamps)", "table public.more"),
        (
            "CREATE TABLE other (n int DEFAULT nextval('metadata_stamps_id_seq'))",
            "default value for column n of table public.other",
        ),
        (
            "CREATE FUNCTION newest() RETURNS metadata_stamps LANGUAGE sql AS
                'SELECT * FROM metadata_stamps LIMIT 1'",
            "function public.newest()",
        ),
        ("CREATE TABLE kept (them metadata_stamps[])", "table public.kept"),
        ("CREATE PUBLICATION p FOR TABLE metadata_stamps", "in publication p"),
        (
            "CREATE TABLE base (LIKE metadata_stamps); ALTER TABLE metadata_stamps INHERIT base",
            "base, which it is a part of",
        ),
    ] {
        let database = given(&SERIAL.with_rows(3));
        database.batch(obstacle);
        let before = shape(&database).await;
        for check in [true, false] {
            let error = migrate(&database.admin(), check).await.unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, MigrateError::Adopt(AdoptError::InTheWay(_))), "{error:?}");
            assert!(text.contains(name), "{obstacle}: {text}");
            assert!(text.contains("drop them, migrate, and make them anew"), "{text}");
        }
        assert_eq!(shape(&database).await, before, "{obstacle}");
    }
}

#[tokio::test]
async fn what_is_no_table_of_stamps_is_refused_by_name() {
    for (sql, word) in [
        ("CREATE TABLE metadata_stamps (id int, file_hash text)", "no column stamp_data"),
        ("CREATE TABLE metadata_stamps (id int, stamp_data jsonb)", "no column file_hash"),
        ("CREATE VIEW metadata_stamps AS SELECT 1 AS id", "it is a view"),
        ("CREATE SEQUENCE metadata_stamps", "it is no table"),
    ] {
        let database = given(sql);
        for check in [true, false] {
            let error = migrate(&database.admin(), check).await.unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, MigrateError::Adopt(AdoptError::Unrecognised(_))), "{error:?}");
            assert!(text.contains(word) && text.contains("nothing was changed"), "{text}");
        }
    }
    for beside in ["streams", "metadata_stamps_unplaced"] {
        let database = given(&format!("{}; CREATE TABLE {beside} ()", BARE.table));
        let error = migrate(&database.admin(), false).await.unwrap_err();
        assert!(
            matches!(&error, MigrateError::Foreign(names) if names.contains(beside)),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn only_the_owner_adopts_and_readers_stay_readers() {
    let mut database = given(&SERVICE.with_rows(2));
    let [owner, reader, writer] = [(); 3].map(|()| database.login("pg_monitor"));
    let (theirs, admin) = (&owner.user, database.admin().user);
    database.batch(&format!(
        "ALTER TABLE metadata_stamps OWNER TO {theirs}; GRANT SELECT ON metadata_stamps TO {};
         GRANT SELECT, INSERT ON metadata_stamps TO {}; GRANT SELECT (id) ON metadata_stamps TO {}",
        reader.user, writer.user, writer.user
    ));
    let error = migrate(&reader, false).await.unwrap_err();
    assert!(matches!(error, MigrateError::Adopt(AdoptError::NotOwner { .. })), "{error:?}");
    assert!(error.to_string().contains(theirs), "{error}");

    let report = migrate(&database.admin(), false).await.unwrap();
    let gone = adoption(&report)["gone"].to_string();
    assert!(gone.contains(&format!("insert of {}", writer.user)), "{gone}");
    assert!(gone.contains(&format!("select on column id of {}", writer.user)), "{gone}");
    assert!(gone.contains("trigger update_metadata_stamps_updated_at"), "{gone}");
    for login in [&owner, &reader, &writer] {
        let client = login.connect().await;
        assert_eq!(count(&client, "SELECT count(*) FROM metadata_stamps").await, 2, "of {admin}");
        let write = "UPDATE metadata_stamps SET namespace = 'a.b.c'";
        let error = client.batch_execute(write).await.unwrap_err();
        assert_eq!(error.code().unwrap().code(), "42501");
    }
}

#[tokio::test]
async fn an_owner_without_other_rights_adopts_and_no_policy_hides_a_row() {
    // The roles are the server's, and must be there.
    let mut record = Record::create().await;
    let owner = record.database.login("pg_monitor");
    record.database.batch(&format!("CREATE DATABASE {0} OWNER {0}", owner.user));
    let theirs = Address { database: owner.user.clone(), ..owner };
    let outcome = adopt_with_policy(&theirs).await;
    record.database.batch(&format!("DROP DATABASE {} WITH (FORCE)", theirs.user));
    let (refused, report) = outcome;
    assert!(refused.contains("NO FORCE ROW LEVEL SECURITY"), "{refused}");
    assert_eq!(adoption(&report.unwrap())["rows_placed"], 3);
}

async fn adopt_with_policy(owner: &Address) -> (String, Result<Report, MigrateError>) {
    let client = owner.connect().await;
    client.batch_execute(&BARE.with_rows(3)).await.unwrap();
    let policy = "ALTER TABLE metadata_stamps ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
        CREATE POLICY one_row ON metadata_stamps USING (stamp_data->>'n' = '1')";
    client.batch_execute(policy).await.unwrap();
    let refused = migrate(owner, false).await.unwrap_err().to_string();
    client.batch_execute("ALTER TABLE metadata_stamps NO FORCE ROW LEVEL SECURITY").await.unwrap();
    (refused, migrate(owner, false).await)
}

#[tokio::test]
async fn several_migrators_at_once_adopt_once() {
    let database = given(&ADAPTER.with_rows(1000));
    let mut tasks = tokio::task::JoinSet::new();
    for lane in 0..8 {
        let admin = database.admin();
        tasks.spawn(async move { migrate(&admin, lane % 4 == 3).await });
    }
    let reports: Vec<_> = tasks.join_all().await.into_iter().map(Result::unwrap).collect();
    let done = reports.iter().filter(|report| report.text().starts_with("done")).count();
    assert_eq!(done, 1);
    let client = database.admin().connect().await;
    assert_eq!(count(&client, "SELECT count(*) FROM metadata_stamps").await, 1000);
}

/// Holds up the migration when it drops the old table, until this lock is given back.
const HOLD_UP: &str = "
    CREATE SCHEMA aside;
    CREATE FUNCTION aside.hold_up() RETURNS event_trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF EXISTS (SELECT FROM pg_event_trigger_dropped_objects()
            WHERE object_name = 'stampd_adopting') THEN
            PERFORM pg_advisory_xact_lock(77);
        END IF;
    END $$;
    CREATE EVENT TRIGGER hold_up ON sql_drop EXECUTE FUNCTION aside.hold_up()";

#[tokio::test]
async fn a_migration_killed_in_the_middle_leaves_the_old_schema_whole() {
    let database = given(&format!("{}; {HOLD_UP}", SERVICE.with_rows(500)));
    let before = shape(&database).await;
    let holder = database.admin().connect().await;
    holder.batch_execute("SELECT pg_advisory_lock(77)").await.unwrap();
    let admin = database.admin();
    let mut stages = Vec::new();
    let mut watch = |stage| stages.push(stage);
    let road = config(&admin);
    let migrating = run(&road, false, &mut watch);
    let killing = async {
        let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event = 'advisory'";
        wait_for_async("the migration has carried the rows over", async || {
            (!holder.query(kill, &[]).await.unwrap().is_empty()).then_some(())
        })
        .await;
    };
    let (outcome, ()) = tokio::join!(migrating, killing);
    assert!(matches!(outcome, Err(MigrateError::Adopt(AdoptError::Store(_)))), "{outcome:?}");
    assert_eq!(stages, [Stage::Reading(500), Stage::Copying(500), Stage::Indexing]);
    assert_eq!(shape(&database).await, before);
    holder.batch_execute("SELECT pg_advisory_unlock(77)").await.unwrap();
    let report = migrate(&database.admin(), false).await.unwrap();
    assert_eq!(adoption(&report)["rows_placed"], 500);
}

#[tokio::test]
async fn a_migrator_that_goes_away_holds_nothing() {
    let database = given(&format!("{}; {HOLD_UP}", SERVICE.with_rows(5)));
    let before = shape(&database).await;
    let holder = database.admin().connect().await;
    holder.batch_execute("SELECT pg_advisory_lock(77)").await.unwrap();
    let backends = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event = 'advisory'";
    let admin = database.admin();
    tokio::select! {
        _ = migrate(&admin, false) => panic!("it is held up"),
        () = wait_for_async("the migration is held up", async || {
            (count(&holder, backends).await == 1).then_some(())
        }) => {}
    }
    // The socket is closed, and the server finds out although it waits for something else.
    wait_for_async("the server has given up", async || {
        (count(&holder, backends).await == 0).then_some(())
    })
    .await;
    assert_eq!(shape(&database).await, before);
}

#[tokio::test]
async fn a_table_in_use_is_waited_for_and_nothing_written_meanwhile_is_lost() {
    let database = given(&BARE.with_rows(5));
    let mut writer = database.admin().connect().await;
    let transaction = writer.transaction().await.unwrap();
    let late = "INSERT INTO metadata_stamps (file_hash, namespace, stamp_data)
        VALUES ('late', 'a.b.c', '{}')";
    transaction.batch_execute(late).await.unwrap();
    let admin = database.admin();
    let committing = async {
        let client = admin.connect().await;
        let waits = "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event = 'relation'";
        wait_for_async("the migration waits for the table", async || {
            (count(&client, waits).await == 1).then_some(())
        })
        .await;
        transaction.commit().await.unwrap();
    };
    let (report, ()) = tokio::join!(migrate(&admin, false), committing);
    assert_eq!(adoption(&report.unwrap())["rows_placed"], 6);
}

#[tokio::test]
async fn a_stamp_of_an_adopted_content_finds_its_row() {
    let mut database = given(BARE.table);
    let stamps = piece(stream(), 0..3);
    let Entry::Stamp(second) = &stamps.entries[1] else { panic!("a stamp") };
    let digest = second.stamp.digest.as_ref().unwrap();
    // Without a path it is another row than the stamp's, with the path it is the same.
    database.batch(&format!(
        "ALTER TABLE metadata_stamps ADD file_path text;
         INSERT INTO metadata_stamps (file_hash, namespace, file_path, stamp_data) VALUES
            ('{digest}', 'projecta.services.metadata', 'src/1.rs', '{{\"old\": true}}'),
            ('{digest}', 'projecta.services.metadata', NULL, '{{\"old\": true}}')"
    ));
    migrate(&database.admin(), false).await.unwrap();
    let agent = database.login("stampd_agent");
    let mut session = session(&agent).await;
    for _ in 0..2 {
        let appended = append(&mut session, &[&stamps], Gaps::Refused).await.unwrap();
        assert_eq!(appended[0].size, 3);
    }
    let client = database.admin().connect().await;
    assert_eq!(count(&client, "SELECT count(*) FROM metadata_stamps").await, 4);
    let old = "SELECT count(*) FROM metadata_stamps WHERE stamp_data->'old' = 'true'";
    assert_eq!(count(&client, old).await, 2);
    assert_eq!(count(&client, "SELECT count(*) FROM stamp_events").await, 3);
}

#[tokio::test]
async fn a_table_of_ours_without_the_rest_is_adopted_as_it_is() {
    let record = Record::create().await;
    let mut agent = session(&record.agent).await;
    append(&mut agent, &[&piece(stream(), 0..5)], Gaps::Refused).await.unwrap();
    let client = record.database.admin().connect().await;
    let query = "SELECT * FROM metadata_stamps ORDER BY id";
    let before = rows(&client, query).await;
    // As after a restore of this one table.
    let rest = "DO $$ DECLARE t regclass; f regprocedure; BEGIN
            FOR t IN SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace
                AND relkind = 'r' AND relname <> 'metadata_stamps' LOOP
                EXECUTE format('DROP TABLE IF EXISTS %s CASCADE', t);
            END LOOP;
            FOR f IN SELECT oid FROM pg_proc WHERE pronamespace = 'public'::regnamespace LOOP
                EXECUTE format('DROP FUNCTION IF EXISTS %s CASCADE', f);
            END LOOP;
        END $$";
    record.database.batch(rest);
    migrate(&record.database.admin(), false).await.unwrap();
    assert_eq!(rows(&client, query).await, before);
}

/// The database adapter's other tables, each with a row that fits and one that does not.
const ADAPTERS: &str = "
    CREATE TABLE workflow_executions (
        id uuid PRIMARY KEY, correlation_id uuid NOT NULL UNIQUE, workflow_type varchar(100) NOT NULL,
        current_state varchar(50) NOT NULL, namespace varchar(255) NOT NULL,
        started_at timestamp NOT NULL DEFAULT now(), completed_at timestamp,
        execution_time_ms integer, error_message text, metadata jsonb DEFAULT '{}', note text,
        created_at timestamp DEFAULT now(), updated_at timestamp DEFAULT now());
    CREATE INDEX workflow_executions_recent ON workflow_executions (started_at);
    INSERT INTO workflow_executions VALUES
        ('11111111-1111-4111-8111-111111111111', '22222222-2222-4222-8222-222222222222', 'build',
            'COMPLETED', 'a.b.c', '2025-01-02 03:04:05', '2025-01-02 03:04:06', 1000, NULL,
            '{\"a\": 1}', 'unknown to us'),
        ('33333333-3333-4333-8333-333333333333', '44444444-4444-4444-8444-444444444444', 'build',
            'FAILED', 'a.b.c', '2025-01-02 03:04:05', NULL, -1, NULL, NULL, NULL);
    CREATE TABLE workflow_steps (
        id uuid PRIMARY KEY,
        workflow_id uuid NOT NULL REFERENCES workflow_executions ON DELETE CASCADE,
        step_name varchar(100), step_order integer, status text, step_data jsonb,
        created_at timestamptz);
    INSERT INTO workflow_steps VALUES
        (gen_random_uuid(), '11111111-1111-4111-8111-111111111111', 'compile', 0, 'COMPLETED'),
        (gen_random_uuid(), '33333333-3333-4333-8333-333333333333', 'compile', 0, 'COMPLETED');
    CREATE TABLE fsm_transitions (id uuid, entity_id uuid, entity_type text, to_state text,
        transition_event text);
    INSERT INTO fsm_transitions VALUES (gen_random_uuid(), gen_random_uuid(), 'w', 'a', 'go'),
        (gen_random_uuid(), gen_random_uuid(), 'w', NULL, 'go');
    CREATE TABLE bridge_states (bridge_id uuid, namespace text, total_workflows_processed integer,
        total_items_aggregated integer, current_fsm_state text);
    INSERT INTO bridge_states VALUES (gen_random_uuid(), 'a.b.c', 5, 50, 'IDLE'),
        (gen_random_uuid(), 'a.b.c', -5, 50, 'IDLE');
    CREATE TABLE node_registrations (node_id text, health_status text, last_heartbeat timestamptz);
    INSERT INTO node_registrations VALUES ('a', 'HEALTHY', '2025-01-02 03:04:05.000001+00'),
        (repeat('long', 100), 'HEALTHY', now());
    CREATE VIEW gaps AS SELECT 1 AS one";

#[tokio::test]
async fn the_adapters_other_tables_are_kept_and_what_fits_is_copied() {
    let fresh = Database::create();
    fresh.batch(ADAPTERS);
    makes_room(&fresh).await;

    // The same in a database whose schema is older than those tables.
    let older = Database::create();
    migrate(&older.admin(), false).await.unwrap();
    older.batch(
        "DROP TABLE workflow_executions, workflow_steps, pending_steps, fsm_transitions,
            bridge_states, bridge_state_events, node_registrations, adapter_offsets, adapter_dead,
            gaps;
        DROP FUNCTION stampd_gaps, stampd_newer, stampd_touch;
        DELETE FROM stampd_schema WHERE version >= 6",
    );
    older.batch(ADAPTERS);
    makes_room(&older).await;
}

async fn makes_room(database: &Database) {
    let plan = migrate(&database.admin(), true).await.unwrap();
    assert_eq!(plan.exit(), Exit::Degraded);
    let first = plan.text().lines().next().unwrap().to_owned();
    assert_eq!(
        first,
        "to do: keep the workflow_executions that is there as workflow_executions_before_stampd: \
         2 rows, those that fit are copied"
    );
    let done = serde_json::to_value(migrate(&database.admin(), false).await.unwrap()).unwrap();
    let aside = done["aside"].as_array().unwrap();
    for (kept, table) in aside.iter().zip(ADAPTER_TABLES) {
        let rows = json!({
            "table": table, "kept_as": format!("{table}_before_stampd"), "rows": 2, "rows_copied": 1,
        });
        assert_eq!(*kept, rows);
    }
    assert_eq!(aside.len(), ADAPTER_TABLES.len() + 1);
    assert_eq!((&aside[5]["table"], &aside[5]["rows_copied"]), (&json!("gaps"), &json!(0)));

    let client = database.admin().connect().await;
    for table in ADAPTER_TABLES {
        assert_eq!(count(&client, &format!("SELECT count(*) FROM {table}")).await, 1, "{table}");
        let kept = format!("SELECT count(*) FROM {table}_before_stampd");
        assert_eq!(count(&client, &kept).await, 2, "{table}");
    }
    let workflow = "SELECT s.step_name, w.started_at = '2025-01-02 03:04:05+00' AS utc, w.metadata,
        w.finished_by FROM workflow_steps s JOIN workflow_executions w ON w.id = s.workflow_id";
    assert_eq!(
        rows(&client, workflow).await,
        [json!({ "step_name": "compile", "utc": true, "metadata": { "a": 1 }, "finished_by": "" })]
    );
    let heard = "SELECT heard_by FROM node_registrations";
    assert_eq!(
        rows(&client, heard).await,
        [json!({ "heard_by": "2025-01-02T03:04:05.000001000Z" })]
    );
    assert!(migrate(&database.admin(), true).await.unwrap().text().starts_with("nothing to do"));
}

const ADAPTER_TABLES: [&str; 5] = [
    "workflow_executions",
    "workflow_steps",
    "fsm_transitions",
    "bridge_states",
    "node_registrations",
];
