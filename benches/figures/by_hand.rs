//! The rows that the agent wrote, written again by hand: by binary COPY into a temporary table and
//! INSERT from it, and by INSERT from `unnest`; both in
//! transactions as large as ours; and one row at a time, as a script for `pgbench`.
//!
//! Values are kept as the server sent them, so that no conversion is in the measured time.

use std::error::Error;
use std::pin::pin;
use std::time::Instant;

use tokio::runtime::Runtime;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type};
use tokio_postgres::{Client, Column};

use crate::support::postgres::Address;

/// The tables that a stamp goes to, and an order in which to read them.
const TABLES: [(&str, &str); 2] = [("stamp_events", "stream_id, seq"), ("metadata_stamps", "ctid")];

/// One connection with a runtime under it.
pub struct Session {
    runtime: Runtime,
    client: Client,
}

impl Session {
    /// Connects.
    pub fn open(address: &Address) -> Self {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().expect("a runtime starts");
        let client = runtime.block_on(address.connect());
        Self { runtime, client }
    }

    /// Runs statements without a result.
    pub fn run(&self, sql: &str) {
        self.runtime.block_on(self.client.batch_execute(sql)).expect("the server takes it");
    }

    /// A transaction for `pgbench` that inserts one more row like one of each table's: what tells rows
    /// apart is drawn anew, all else is the same.
    pub fn insert_alike(&self, tables: &[&str]) -> String {
        let inserts: Vec<String> = tables.iter().map(|table| self.insert_one(table)).collect();
        let (last, first) = inserts.split_last().expect("there is a table");
        let with: Vec<String> =
            first.iter().enumerate().map(|(n, insert)| format!("t{n} AS ({insert})")).collect();
        // One statement is one transaction, and one round trip.
        format!(
            "\\set r random(1, 9007199254740991)\n\\set s random(1, 9007199254740991)\n\
             WITH {} {last};\n",
            with.join(", ")
        )
    }

    fn insert_one(&self, table: &str) -> String {
        let sql = "SELECT attname::text, format_type(atttypid, NULL) FROM pg_attribute
                   WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped
                     AND attidentity = '' AND attgenerated = '' ORDER BY attnum";
        let columns = self.runtime.block_on(self.client.query(sql, &[&table]));
        let (mut names, mut values) = (Vec::new(), Vec::new());
        for column in columns.expect("the table is there") {
            let (name, ty): (String, String) = (column.get(0), column.get(1));
            values.push(match name.as_str() {
                "id" => "gen_random_uuid()".to_owned(),
                "file_hash" | "digest" => "md5((:r)::text) || md5((:s)::text)".to_owned(),
                "leaf" => "decode(md5((:r)::text) || md5((:s)::text), 'hex')".to_owned(),
                "seq" | "first_seq" => "(:r)::bigint".to_owned(),
                "next_seq" => "(:r)::bigint + 1".to_owned(),
                _ => format!("{}::{ty}", self.literal(table, &name)),
            });
            names.push(name);
        }
        format!("INSERT INTO {table} ({}) VALUES ({})", names.join(", "), values.join(", "))
    }

    /// A value of the newest row; a bare colon would be a variable to `pgbench`, so it is told in hex.
    fn literal(&self, table: &str, column: &str) -> String {
        let sql = format!(
            "SELECT encode(convert_to({column}::text, 'UTF8'), 'hex') FROM {table}
             ORDER BY ctid DESC LIMIT 1"
        );
        let row = self.runtime.block_on(self.client.query_one(&sql, &[]));
        let value: Option<String> = row.expect("the table has a row").get(0);
        value.map_or_else(
            || "NULL".to_owned(),
            |hex| format!("convert_from(decode('{hex}', 'hex'), 'UTF8')"),
        )
    }

    /// How many stamps of all streams are confirmed.
    pub fn size(&self) -> u64 {
        self.number("SELECT coalesce(sum(size), 0)::bigint FROM streams")
    }

    /// The number that a query gives.
    pub fn number(&self, sql: &str) -> u64 {
        let row = self.runtime.block_on(self.client.query_one(sql, &[])).expect("it answers");
        u64::try_from(row.get::<_, i64>(0)).expect("it counts something")
    }
}

/// A value in the server's own binary form.
#[derive(Debug)]
struct Raw(Option<Vec<u8>>);

impl FromSql<'_> for Raw {
    fn from_sql(_: &Type, bytes: &[u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(Some(bytes.to_vec())))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

impl ToSql for Raw {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let Some(bytes) = &self.0 else { return Ok(IsNull::Yes) };
        out.extend_from_slice(bytes);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn to_sql_checked(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        self.to_sql(ty, out)
    }
}

/// The rows of one transaction for one table, by column.
struct Piece {
    table: &'static str,
    columns: Vec<(String, Type)>,
    values: Vec<Vec<Raw>>,
}

/// Everything the agent wrote, one element for each transaction.
pub struct Rows(Vec<Vec<Piece>>);

impl Rows {
    /// Reads the tables back, `rows` for each transaction.
    pub fn read(session: &Session, rows: i64) -> Self {
        let events = session.size() as i64;
        let pieces = (0..events).step_by(rows as usize).map(|from| {
            let piece = |(table, order): &(&'static str, &str)| {
                read_piece(session, table, &format!("ORDER BY {order} OFFSET {from} LIMIT {rows}"))
            };
            TABLES.iter().map(piece).collect()
        });
        Self(pieces.collect())
    }

    /// Writes the rows both ways, the first of them by turns; returns the better's stamps per second and
    /// its name.
    pub fn by_the_better(&self, session: &Session, round: usize) -> (f64, &'static str) {
        let (copy, unnest) = if round.is_multiple_of(2) {
            let copy = self.by_copy(session);
            (copy, self.by_unnest(session))
        } else {
            let unnest = self.by_unnest(session);
            (self.by_copy(session), unnest)
        };
        (copy.max(unnest), if copy > unnest { "COPY-temp" } else { "UNNEST" })
    }

    /// Empties the tables and writes the rows by COPY; returns the stamps per second.
    fn by_copy(&self, session: &Session) -> f64 {
        for (table, _) in TABLES {
            session.run(&format!("CREATE TEMP TABLE IF NOT EXISTS by_hand_{table} (LIKE {table})"));
        }
        self.write(session, &async |client: &Client, piece: &Piece| {
            let table = piece.table;
            let types: Vec<Type> = piece.columns.iter().map(|(_, ty)| ty.clone()).collect();
            let sql = format!("COPY by_hand_{table} FROM STDIN (FORMAT binary)");
            let sink = client.copy_in(&sql).await.expect("the server takes a copy");
            let mut writer = pin!(BinaryCopyInWriter::new(sink, &types));
            for row in 0..piece.values[0].len() {
                let row: Vec<&(dyn ToSql + Sync)> =
                    piece.values.iter().map(|column| &column[row] as &(dyn ToSql + Sync)).collect();
                writer.as_mut().write(&row).await.expect("the server takes a row");
            }
            writer.finish().await.expect("the server takes the copy");
            let insert = format!(
                "INSERT INTO {table} SELECT * FROM by_hand_{table} ORDER BY 1, 2 \
                 ON CONFLICT DO NOTHING; TRUNCATE by_hand_{table}"
            );
            client.batch_execute(&insert).await.expect("the server takes the rows");
        })
    }

    /// Empties the tables and writes the rows from arrays; returns the stamps per second.
    fn by_unnest(&self, session: &Session) -> f64 {
        self.write(session, &async |client: &Client, piece: &Piece| {
            let arrays = piece.columns.iter().enumerate();
            let arrays: Vec<String> =
                arrays.map(|(n, (_, ty))| format!("${}::{}[]", n + 1, ty.name())).collect();
            let insert = format!(
                "INSERT INTO {} SELECT * FROM unnest({}) ORDER BY 1, 2 ON CONFLICT DO NOTHING",
                piece.table,
                arrays.join(", ")
            );
            let statement = client.prepare(&insert).await.expect("the statement is valid");
            let values: Vec<&(dyn ToSql + Sync)> =
                piece.values.iter().map(|column| column as &(dyn ToSql + Sync)).collect();
            client.execute(&statement, &values).await.expect("the server takes the rows");
        })
    }

    fn write(&self, session: &Session, piece_by: &impl AsyncFn(&Client, &Piece)) -> f64 {
        session.run("TRUNCATE stamp_events, metadata_stamps; CHECKPOINT");
        let start = Instant::now();
        for transaction in &self.0 {
            session.run("BEGIN");
            for piece in transaction {
                session.runtime.block_on(piece_by(&session.client, piece));
            }
            session.run("COMMIT");
        }
        let stamps: usize = self.0.iter().map(|pieces| pieces[0].values[0].len()).sum();
        stamps as f64 / start.elapsed().as_secs_f64()
    }
}

fn read_piece(session: &Session, table: &'static str, part: &str) -> Piece {
    let sql = format!("SELECT * FROM {table} {part}");
    let (statement, rows) = session.runtime.block_on(async {
        let statement = session.client.prepare(&sql).await.expect("the tables are there");
        let rows = session.client.query(&statement, &[]).await.expect("they are readable");
        (statement, rows)
    });
    let columns = statement.columns();
    let values = (0..columns.len()).map(|n| rows.iter().map(|row| row.get::<_, Raw>(n)).collect());
    let named = |column: &Column| (column.name().to_owned(), column.type_().clone());
    Piece { table, values: values.collect(), columns: columns.iter().map(named).collect() }
}
