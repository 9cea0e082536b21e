//! Rows of `metadata_stamps`, as they are held.

use std::time::SystemTime;

use tokio_postgres::types::Type;

use crate::model::content::Row;
use crate::model::digest::Digest;
use crate::store::error::StoreError;
use crate::store::pool::Pool;

/// The columns of a row, in the order in which [`to_row`] reads them.
macro_rules! columns {
    () => {
        "id, file_hash, file_path, file_size, content_type, namespace, protocol_version, \
         metadata_version, stamp_data, intelligence_data, file_metadata, version, op_id, \
         workflow_id, created_at, updated_at"
    };
}

/// The most rows of one content that a caller gets.
const FOUND_MAX: i64 = 1_000;

/// Rows by their ids.
pub(super) const BY_ID: &str =
    concat!("SELECT ", columns!(), " FROM public.metadata_stamps WHERE id = ANY ($1)");

pub(super) async fn find(
    pool: &Pool,
    digest: &Digest,
    namespace: Option<&str>,
    path: Option<&str>,
) -> Result<Vec<Row>, StoreError> {
    let sql = concat!(
        "SELECT ",
        columns!(),
        " FROM public.metadata_stamps WHERE file_hash = $1
            AND ($2::text IS NULL OR namespace = $2)
            AND ($3::text IS NULL OR md5(file_path)::uuid = md5($3)::uuid)
        ORDER BY created_at DESC, id LIMIT $4"
    );
    let digest = digest.to_string();
    let path = path.filter(|path| !path.is_empty());
    let rows = pool
        .query(
            sql,
            &[
                (&digest, Type::TEXT),
                (&namespace, Type::TEXT),
                (&path, Type::TEXT),
                (&FOUND_MAX, Type::INT8),
            ],
        )
        .await?;
    to_rows(&rows)
}

pub(super) async fn page(
    pool: &Pool,
    namespace: &str,
    limit: u32,
    offset: u64,
) -> Result<(u64, Vec<Row>), StoreError> {
    let counted = pool
        .query(
            "SELECT count(*) FROM public.metadata_stamps WHERE namespace = $1",
            &[(&namespace, Type::TEXT)],
        )
        .await?;
    let total: i64 = counted.first().map_or(Ok(0), |row| row.try_get(0))?;
    let sql = concat!(
        "SELECT ",
        columns!(),
        " FROM public.metadata_stamps WHERE namespace = $1
        ORDER BY created_at DESC, id LIMIT $2 OFFSET $3"
    );
    let (limit, offset) = (i64::from(limit), i64::try_from(offset).unwrap_or(i64::MAX));
    let rows = pool
        .query(sql, &[(&namespace, Type::TEXT), (&limit, Type::INT8), (&offset, Type::INT8)])
        .await?;
    Ok((total as u64, to_rows(&rows)?))
}

pub(super) fn to_rows(rows: &[tokio_postgres::Row]) -> Result<Vec<Row>, StoreError> {
    rows.iter().map(|row| to_row(row).map_err(StoreError::from)).collect()
}

fn to_row(row: &tokio_postgres::Row) -> Result<Row, tokio_postgres::Error> {
    Ok(Row {
        id: row.try_get(0)?,
        file_hash: row.try_get(1)?,
        file_path: row.try_get(2)?,
        file_size: row.try_get(3)?,
        content_type: row.try_get(4)?,
        namespace: row.try_get(5)?,
        protocol_version: row.try_get(6)?,
        metadata_version: row.try_get(7)?,
        stamp_data: row.try_get(8)?,
        intelligence_data: row.try_get(9)?,
        file_metadata: row.try_get(10)?,
        version: row.try_get(11)?,
        op_id: row.try_get(12)?,
        workflow_id: row.try_get(13)?,
        created_at: row.try_get::<_, SystemTime>(14)?.into(),
        updated_at: row.try_get::<_, SystemTime>(15)?.into(),
    })
}
