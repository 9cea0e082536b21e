//! Contents as senders without streams tell of them. A content that is known already stays as it
//! is, by whichever road it came.

use std::time::SystemTime;

use tokio_postgres::{Client, Statement};
use uuid::Uuid;

use super::to_text;
use crate::model::identity::content_id;
use crate::model::operation::{Content, Event, Operation, Origin};

/// In the order in which `stampd_append` writes these rows, and like there without a target: the id
/// may be there as well as the content.
pub(super) const WRITE: &str = "
    INSERT INTO public.metadata_stamps (id, file_hash, file_path, file_size, content_type,
        namespace, protocol_version, metadata_version, stamp_data, intelligence_data,
        file_metadata, version, op_id, workflow_id, created_at, updated_at)
    SELECT id, file_hash, file_path, file_size, content_type, namespace, protocol_version,
        metadata_version,
        jsonb_build_object('timestamp', stamped, 'protocol_version', protocol_version)
            || stamp_data::jsonb
            || jsonb_build_object('hash', file_hash, 'namespace', namespace),
        intelligence_data::jsonb, '{\"digest_of\": \"claimed\"}', version, op_id, workflow_id,
        created_at, created_at
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[],
        $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::integer[], $13::uuid[],
        $14::uuid[], $15::timestamptz[])
        AS g (id, file_hash, file_path, file_size, content_type, namespace, protocol_version,
            metadata_version, stamp_data, stamped, intelligence_data, version, op_id, workflow_id,
            created_at)
    ORDER BY file_hash, namespace, file_path
    ON CONFLICT DO NOTHING";

/// The statement's arrays.
#[derive(Default)]
struct Columns<'e> {
    id: Vec<Uuid>,
    file_hash: Vec<String>,
    file_path: Vec<Option<&'e str>>,
    file_size: Vec<Option<i64>>,
    content_type: Vec<Option<&'e str>>,
    namespace: Vec<&'e str>,
    protocol_version: Vec<&'e str>,
    metadata_version: Vec<&'e str>,
    stamp_data: Vec<String>,
    stamped: Vec<String>,
    intelligence_data: Vec<String>,
    version: Vec<i32>,
    op_id: Vec<Option<Uuid>>,
    workflow_id: Vec<Option<Uuid>>,
    created_at: Vec<SystemTime>,
}

/// Writes the contents that are not known yet.
pub(super) async fn write<'e>(
    client: &Client,
    statement: &Statement,
    events: impl Iterator<Item = &'e Event>,
) -> Result<(), tokio_postgres::Error> {
    let mut columns = Columns::default();
    for event in events {
        if let Operation::Content(content) = &event.operation {
            columns.push(&event.origin, content);
        }
    }
    if columns.id.is_empty() {
        return Ok(());
    }
    columns.send(client, statement).await
}

impl<'e> Columns<'e> {
    fn push(&mut self, origin: &Origin, content: &'e Content) {
        let path = content.file_path.as_deref();
        let stamped = content.created_at.unwrap_or(origin.at);
        self.id.push(content_id(&content.namespace, &content.file_hash, path));
        self.file_hash.push(content.file_hash.to_string());
        self.file_path.push(path);
        self.file_size.push(content.file_size);
        self.content_type.push(content.content_type.as_deref());
        self.namespace.push(content.namespace.as_str());
        self.protocol_version.push(&content.protocol_version);
        self.metadata_version.push(&content.metadata_version);
        self.stamp_data.push(to_text(&content.stamp_data));
        self.stamped.push(stamped.to_string());
        self.intelligence_data.push(to_text(&content.intelligence_data));
        self.version.push(content.version);
        self.op_id.push(content.op_id);
        self.workflow_id.push(content.workflow_id);
        self.created_at.push(stamped.into());
    }

    async fn send(
        &self,
        client: &Client,
        statement: &Statement,
    ) -> Result<(), tokio_postgres::Error> {
        client
            .execute(
                statement,
                &[
                    &self.id,
                    &self.file_hash,
                    &self.file_path,
                    &self.file_size,
                    &self.content_type,
                    &self.namespace,
                    &self.protocol_version,
                    &self.metadata_version,
                    &self.stamp_data,
                    &self.stamped,
                    &self.intelligence_data,
                    &self.version,
                    &self.op_id,
                    &self.workflow_id,
                    &self.created_at,
                ],
            )
            .await?;
        Ok(())
    }
}
