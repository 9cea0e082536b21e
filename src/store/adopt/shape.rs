//! The tables of stamps that are out there, told apart by their columns.

/// Which of the published tables a `metadata_stamps` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `id, file_hash, namespace, stamp_data, created_at` and nothing else.
    Bare,
    /// Made by hand, with ids from a sequence.
    Serial,
    /// The stamping service's own.
    Service,
    /// That of the stamping service's migration tool.
    Tool,
    /// The database adapter's audit trail.
    Adapter,
    /// Another table with a digest and a stamp in it.
    Variant,
}

impl Shape {
    /// For people, after "adopt metadata_stamps".
    pub const fn words(self) -> &'static str {
        match self {
            Self::Bare => "the bare five columns",
            Self::Serial => "made by hand, with serial ids",
            Self::Service => "the stamping service's",
            Self::Tool => "the stamping service's migration tool's",
            Self::Adapter => "the database adapter's",
            Self::Variant => "a variant",
        }
    }

    /// For programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Serial => "serial",
            Self::Service => "service",
            Self::Tool => "tool",
            Self::Adapter => "adapter",
            Self::Variant => "variant",
        }
    }

    /// Tells which it is; a table without digests or without stamps is none, and the error says
    /// what it lacks.
    pub(super) fn of(columns: &[Column]) -> Result<Self, String> {
        let find = |name: &str| columns.iter().find(|column| column.name == name);
        let has = |name| find(name).is_some();
        let kind = |name| find(name).map(|column| column.kind);
        let not_null = |name| find(name).is_some_and(|column| column.not_null);
        if kind("file_hash") != Some(Kind::Text) {
            return Err("it has no column file_hash of text".to_owned());
        }
        if !matches!(kind("stamp_data"), Some(Kind::Json | Kind::Jsonb)) {
            return Err("it has no column stamp_data of JSON".to_owned());
        }
        let bare = ["id", "file_hash", "namespace", "stamp_data", "created_at"];
        Ok(match kind("id") {
            _ if has("workflow_id") && !has("file_path") => Self::Adapter,
            _ if columns.len() == bare.len() && bare.iter().all(|name| has(name)) => Self::Bare,
            Some(Kind::Number) => Self::Serial,
            _ if !(not_null("file_path") && has("file_size") && has("op_id")) => Self::Variant,
            _ if ["version", "created_at", "updated_at"].into_iter().all(not_null) => Self::Tool,
            _ => Self::Service,
        })
    }
}

/// A column of the old table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) not_null: bool,
}

/// What can be done with a column's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// Whole numbers, and decimal ones, which may be whole.
    Number,
    Uuid,
    Jsonb,
    /// May hold what JSONB cannot.
    Json,
    /// A time with a zone.
    Instant,
    /// A time or date without.
    Civil,
    /// Anything else that JSON has a form for.
    Plain,
    /// The rest, which has a text at least.
    Other,
}

impl Column {
    /// By the name of its base type and that type's category, as the server's catalog has them.
    pub(super) fn new(name: String, of_type: &str, category: &str, not_null: bool) -> Self {
        let kind = match (of_type, category) {
            ("int2" | "int4" | "int8" | "numeric", _) => Kind::Number,
            ("uuid", _) => Kind::Uuid,
            ("jsonb", _) => Kind::Jsonb,
            ("json", _) => Kind::Json,
            ("timestamptz", _) => Kind::Instant,
            ("timestamp" | "date", _) => Kind::Civil,
            (_, "S" | "E") => Kind::Text,
            (_, "N" | "B" | "D") => Kind::Plain,
            _ => Kind::Other,
        };
        Self { name, kind, not_null }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns as `name kind`, with `!` after what is not null.
    fn shape(columns: &str) -> Result<Shape, String> {
        let column = |text: &str| {
            let (name, of_type) = text.split_once(' ').unwrap();
            let (of_type, not_null) =
                of_type.strip_suffix('!').map_or((of_type, false), |of_type| (of_type, true));
            let category = if of_type == "varchar" { "S" } else { "U" };
            Column::new(name.to_owned(), of_type, category, not_null)
        };
        Shape::of(&columns.split(", ").map(column).collect::<Vec<_>>())
    }

    #[test]
    fn a_published_table_is_told_by_its_columns() {
        let five =
            "file_hash varchar!, namespace varchar!, stamp_data jsonb!, created_at timestamp";
        let service = "id uuid!, file_hash varchar!, file_path varchar!, file_size int8!, \
                       stamp_data jsonb!, op_id uuid!";
        for (columns, expected) in [
            (format!("id uuid!, {five}"), Shape::Bare),
            (format!("id int4!, {five}"), Shape::Bare),
            (format!("id int4!, {five}, file_path varchar"), Shape::Serial),
            (format!("id uuid!, {five}, workflow_id uuid"), Shape::Adapter),
            (format!("{service}, version int4, created_at timestamptz"), Shape::Service),
            (
                format!(
                    "{service}, version int4!, created_at timestamptz!, updated_at timestamptz!"
                ),
                Shape::Tool,
            ),
            ("file_hash varchar, stamp_data json".to_owned(), Shape::Variant),
        ] {
            assert_eq!(shape(&columns), Ok(expected), "{columns}");
        }
    }

    #[test]
    fn a_table_of_something_else_is_none() {
        for (columns, lacks) in [
            ("id int4!, file_hash varchar", "stamp_data"),
            ("id int4!, stamp_data jsonb", "file_hash"),
            ("file_hash int8, stamp_data jsonb", "file_hash"),
            ("file_hash varchar, stamp_data varchar", "stamp_data"),
        ] {
            assert!(shape(columns).unwrap_err().contains(lacks), "{columns}");
        }
    }
}
