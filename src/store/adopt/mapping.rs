//! What becomes of each column, as SQL over the old table, which is `o` in every expression.
//!
//! A column that we know by name and can convert is taken; what is left over goes as it is into
//! `file_metadata.legacy_columns`. Nothing is cut to fit: a row with a value that our column cannot
//! hold is unfit as a whole.

use super::shape::{Column, Kind};

/// Converts JSON that may hold what JSONB cannot; NULL then. Only for columns that need it.
pub(super) const TRY_JSONB: &str = "
    CREATE OR REPLACE FUNCTION pg_temp.stampd_jsonb(given json) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE STRICT AS $$
    BEGIN
        RETURN given::jsonb;
    EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
        RETURN NULL;
    END $$";

/// The times that a stamp can have: its nanoseconds since 1970 fit 64 bits.
const TIMES: &str = "BETWEEN '1678-01-01' AND '2261-12-31'";

const UUID: &str = "'^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'";

const DUPLICATE: &str = "an older row has this content in this namespace and at this path";

/// How to read the old table as ours.
pub(super) struct Mapping {
    /// Columns of ours, each with its value.
    values: Vec<(&'static str, String)>,
    /// Conditions that make a row unfit, each with the reason.
    unfit: Vec<(String, String)>,
    /// The id that a row brings, NULL where it brings none that can be kept.
    kept_id: String,
    /// Whether two rows may bring the same.
    ids_repeat: bool,
    legacy_columns: Vec<String>,
    reads_json: bool,
}

impl Mapping {
    /// Decides for every column; `unique_id` tells whether no two rows share an id.
    pub(super) fn new(columns: Vec<Column>, unique_id: bool) -> Self {
        let reads_json = columns.iter().any(|column| column.kind == Kind::Json);
        let mut taking = Taking { columns, unfit: Vec::new(), remainders: Vec::new() };
        let id = taking.id();
        let mut values = taking.texts();
        values.extend(taking.numbers());
        values.extend(taking.uuids());
        values.extend(taking.times());
        for name in ["stamp_data", "intelligence_data"] {
            let given = taking.json(name).unwrap_or_else(|| "NULL::jsonb".to_owned());
            values.push((name, format!("coalesce({given}, '{{}}'::jsonb)")));
        }
        let metadata = taking.json("file_metadata");
        let legacy_columns: Vec<String> =
            taking.columns.iter().map(|column| column.name.clone()).collect();
        values.push(("file_metadata", taking.file_metadata(metadata.as_deref(), &id)));
        values.push(("id", id.value));
        let ids_repeat = id.kept != NO_ID && (id.from_text || !unique_id);
        let unfit = taking.unfit;
        Self { values, unfit, kept_id: id.kept, ids_repeat, legacy_columns, reads_json }
    }

    /// Whether `TRY_JSONB` must be there.
    pub(super) fn reads_json(&self) -> bool {
        self.reads_json
    }

    /// The columns that we do not know.
    pub(super) fn into_legacy_columns(self) -> Vec<String> {
        self.legacy_columns
    }

    /// A query for every row of the table: where it is, why it does not fit, whether it needs
    /// another id. Of the rows of one content in one namespace and at one path, the oldest fits.
    pub(super) fn marks(&self, table: &str) -> String {
        let value = |wanted| {
            let found = self.values.iter().find(|(name, _)| *name == wanted);
            &found.expect("every column of ours has a value").1
        };
        let unfit = self.unfit.iter().fold("CASE".to_owned(), |sql, (condition, reason)| {
            sql + &format!(" WHEN {condition} THEN {}", literal(reason))
        }) + " END";
        let renumbered = if self.ids_repeat {
            "reason IS NULL AND kept IS NOT NULL AND row_number() OVER (
                PARTITION BY reason IS NULL, kept ORDER BY created_at, part, place) > 1"
        } else {
            "false"
        };
        format!(
            "SELECT part, place, reason, {renumbered} AS renumbered FROM (
                SELECT part, place, kept, created_at, coalesce(unfit, CASE WHEN row_number() OVER (
                    PARTITION BY unfit IS NULL, file_hash, namespace, path_key
                    ORDER BY created_at, part, place) > 1 THEN {duplicate} END) AS reason
                FROM (
                    SELECT o.tableoid AS part, o.ctid AS place, {kept} AS kept,
                        {created_at} AS created_at, ({file_hash}) COLLATE \"C\" AS file_hash,
                        {namespace} AS namespace, md5({file_path})::uuid AS path_key,
                        {unfit} AS unfit
                    FROM public.{table} o) a) b",
            duplicate = literal(DUPLICATE),
            kept = self.kept_id,
            created_at = value("created_at"),
            file_hash = value("file_hash"),
            namespace = value("namespace"),
            file_path = value("file_path"),
        )
    }

    /// The statement that copies the rows that fit, once `stampd_marks` tells which do not.
    pub(super) fn place(&self, table: &str) -> String {
        let names: Vec<&str> = self.values.iter().map(|(name, _)| *name).collect();
        let values: Vec<&str> = self.values.iter().map(|(_, value)| value.as_str()).collect();
        format!(
            "INSERT INTO public.metadata_stamps ({}) SELECT {} FROM public.{table} o
             LEFT JOIN pg_temp.stampd_marks m ON m.part = o.tableoid AND m.place = o.ctid
             WHERE m.reason IS NULL",
            names.join(", "),
            values.join(", ")
        )
    }
}

/// Where a row gets its id from.
struct Id {
    value: String,
    kept: String,
    from_text: bool,
    /// A JSON object with the old id, where it could not be kept.
    legacy: Option<String>,
}

const NO_ID: &str = "NULL::uuid";

/// The columns that no column of ours took yet.
struct Taking {
    columns: Vec<Column>,
    unfit: Vec<(String, String)>,
    /// JSON objects of what could not be taken of a column that was.
    remainders: Vec<String>,
}

impl Taking {
    /// Takes a column if it can be read as one of these kinds.
    fn take(&mut self, name: &str, kinds: &[Kind]) -> Option<(String, Kind)> {
        let fits = |column: &Column| column.name == name && kinds.contains(&column.kind);
        let column = self.columns.remove(self.columns.iter().position(fits)?);
        Some((old(&column.name), column.kind))
    }

    fn refuse(&mut self, condition: String, reason: String) {
        self.unfit.push((condition, reason));
    }

    fn id(&mut self) -> Id {
        let any = |column: &Column| column.name == "id";
        let Some(at) = self.columns.iter().position(any) else {
            let (value, kept) = ("gen_random_uuid()".to_owned(), NO_ID.to_owned());
            return Id { value, kept, from_text: false, legacy: None };
        };
        let column = self.columns.remove(at);
        let kept = match column.kind {
            Kind::Uuid => old("id"),
            Kind::Text => uuid_in("id"),
            _ => NO_ID.to_owned(),
        };
        let is_kept = format!("({kept} IS NOT NULL AND m.renumbered IS NOT TRUE)");
        Id {
            value: format!("CASE WHEN {is_kept} THEN {kept} ELSE gen_random_uuid() END"),
            from_text: column.kind == Kind::Text,
            legacy: Some(object_unless(&is_kept, "legacy_id", &column)),
            kept,
        }
    }

    fn texts(&mut self) -> Vec<(&'static str, String)> {
        let ours = [
            ("file_hash", Some(64), None),
            ("file_path", None, None),
            ("content_type", Some(255), None),
            ("namespace", Some(255), Some("omninode.services.metadata")),
            ("protocol_version", Some(10), Some("1.0")),
            ("metadata_version", Some(10), Some("0.1")),
        ];
        ours.map(|(name, chars_max, default)| (name, self.text(name, chars_max, default))).into()
    }

    fn text(&mut self, name: &str, chars_max: Option<u32>, default: Option<&str>) -> String {
        let fallback = default.map_or("NULL::text".to_owned(), literal);
        let Some((column, _)) = self.take(name, &[Kind::Text]) else { return fallback };
        if name == "file_hash" {
            self.refuse(format!("{column} IS NULL"), "file_hash is NULL".to_owned());
        }
        // Rules of a locale or of citext would find other rows alike than our index does.
        let text = format!("({column}::text COLLATE \"default\")");
        if let Some(chars_max) = chars_max {
            let reason = format!("{name} has more than {chars_max} characters");
            self.refuse(format!("char_length({text}) > {chars_max}"), reason);
        }
        if default.is_some() { format!("coalesce({text}, {fallback})") } else { text }
    }

    fn numbers(&mut self) -> [(&'static str, String); 2] {
        [
            ("file_size", self.number("file_size", "0 AND 9223372036854775807", "bigint", "NULL")),
            ("version", self.number("version", "-2147483648 AND 2147483647", "integer", "1")),
        ]
    }

    fn number(&mut self, name: &str, range: &str, of_type: &str, default: &str) -> String {
        let Some((column, _)) = self.take(name, &[Kind::Number]) else {
            return format!("{default}::{of_type}");
        };
        // NaN is above every range.
        let number = format!("{column}::numeric");
        let reason = format!("{name} is no whole number that the column holds");
        self.refuse(format!("({number} NOT BETWEEN {range} OR {number} % 1 <> 0)"), reason);
        format!("coalesce({column}::{of_type}, {default})")
    }

    fn uuids(&mut self) -> [(&'static str, String); 2] {
        ["op_id", "workflow_id"].map(|name| (name, self.uuid(name)))
    }

    fn uuid(&mut self, name: &str) -> String {
        match self.take(name, &[Kind::Uuid, Kind::Text]) {
            None => NO_ID.to_owned(),
            Some((column, Kind::Text)) => {
                let parsed = uuid_in(name);
                self.remainders.push(format!(
                    "CASE WHEN {column} IS NULL OR {parsed} IS NOT NULL THEN '{{}}'::jsonb \
                     ELSE jsonb_build_object({}, {column}::text) END",
                    literal(name)
                ));
                parsed
            }
            Some((column, _)) => column,
        }
    }

    /// What a row does not say of one time is told by the other.
    fn times(&mut self) -> [(&'static str, String); 2] {
        let [created, updated] = ["created_at", "updated_at"].map(|name| self.time(name));
        [
            ("created_at", format!("coalesce({created}, {updated}, now())")),
            ("updated_at", format!("coalesce({updated}, {created}, now())")),
        ]
    }

    fn time(&mut self, name: &str) -> String {
        let Some((column, kind)) = self.take(name, &[Kind::Instant, Kind::Civil]) else {
            return "NULL::timestamptz".to_owned();
        };
        let reason = format!("{name} is a time that no stamp can have");
        self.refuse(format!("NOT {column} {TIMES}"), reason);
        if kind == Kind::Instant {
            return column;
        }
        format!("CASE WHEN {column} {TIMES} THEN {column}::timestamp AT TIME ZONE 'UTC' END")
    }

    fn json(&mut self, name: &str) -> Option<String> {
        let (column, kind) = self.take(name, &[Kind::Jsonb, Kind::Json])?;
        if kind == Kind::Jsonb {
            return Some(format!("{column}::jsonb"));
        }
        let converted = format!("pg_temp.stampd_jsonb({column})");
        let reason = format!("{name} holds what JSONB cannot");
        self.refuse(format!("{column} IS NOT NULL AND {converted} IS NULL"), reason);
        Some(converted)
    }

    /// The old metadata, with what we keep of the old row beside it. Metadata that is no object, or
    /// has a key of ours already, goes under a key of its own.
    fn file_metadata(&self, given: Option<&str>, id: &Id) -> String {
        let given = given.unwrap_or("NULL::jsonb");
        let mut columns = self.remainders.clone();
        columns.extend(self.columns.iter().map(|column| {
            object_unless(&format!("{} IS NULL", old(&column.name)), &column.name, column)
        }));
        let mut sql = format!(
            "CASE WHEN {given} IS NULL THEN '{{}}'::jsonb
             WHEN jsonb_typeof({given}) = 'object' AND NOT {given} ?|
                '{{legacy_id,legacy_columns,legacy_file_metadata}}'::text[] THEN {given}
             ELSE jsonb_build_object('legacy_file_metadata', {given}) END"
        );
        if let Some(legacy) = &id.legacy {
            sql = format!("({sql}) || {legacy}");
        }
        if !columns.is_empty() {
            let columns = columns.join(") || (");
            sql = format!("({sql}) || jsonb_build_object('legacy_columns', ({columns}))");
        }
        sql
    }
}

/// A column of the old table.
fn old(name: &str) -> String {
    format!("o.\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The UUID that a text column holds, NULL where it holds something else.
fn uuid_in(name: &str) -> String {
    let column = old(name);
    format!("CASE WHEN {column}::text ~* {UUID} THEN {column}::text::uuid END")
}

/// A JSON object with the column's value in it, empty under a condition or where there is none.
fn object_unless(condition: &str, key: &str, column: &Column) -> String {
    let value = old(&column.name);
    let json = match column.kind {
        // Converted, they might fail; and citext is no text to JSON.
        Kind::Text | Kind::Json | Kind::Other => format!("{value}::text"),
        Kind::Number | Kind::Uuid | Kind::Jsonb | Kind::Instant | Kind::Civil | Kind::Plain => {
            value.clone()
        }
    };
    format!(
        "CASE WHEN {condition} OR {value} IS NULL THEN '{{}}'::jsonb \
         ELSE jsonb_build_object({}, {json}) END",
        literal(key)
    )
}
