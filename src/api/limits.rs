//! The limits that the contract of the API names, each with the name that it has there.

use super::call::{BODY_BYTES_MAX, CORRELATION_CHARS_MAX};
use super::order::{CONTENT_BYTES_MAX, PATH_CHARS_MAX, VERSION_CHARS_MAX};
use super::routes::{batch, hash, namespace, streams};
use crate::model::piece;

/// The grades of a hash that took less than so many milliseconds; what is slower is a C.
pub const GRADES: [(&str, f64); 2] = super::reply::GRADES;

/// Every limit, by its name.
pub fn limits() -> [(&'static str, u64); 14] {
    [
        ("batch_items_max", batch::ITEMS_MAX as u64),
        ("body_bytes_max", BODY_BYTES_MAX as u64),
        ("content_bytes_max", CONTENT_BYTES_MAX as u64),
        ("correlation_id_chars_max", CORRELATION_CHARS_MAX as u64),
        ("file_bytes_max", hash::FILE_BYTES_MAX),
        ("file_path_chars_max", PATH_CHARS_MAX as u64),
        ("form_field_bytes_max", hash::FIELD_BYTES_MAX as u64),
        ("form_fields_max", hash::FIELDS_MAX as u64),
        ("page_rows", namespace::LIMIT),
        ("page_rows_max", namespace::LIMIT_MAX),
        ("piece_bytes_max", streams::PIECE_BYTES_MAX as u64),
        ("piece_compressed_bytes_max", streams::PIECE_COMPRESSED_BYTES_MAX as u64),
        ("piece_entries_max", piece::ENTRIES_MAX as u64),
        ("version_chars_max", VERSION_CHARS_MAX as u64),
    ]
}
