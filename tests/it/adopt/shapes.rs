//! The five published `metadata_stamps`, as their makers wrote them.

/// A table that is out there: how it is made, and one good row of it for a content.
pub struct Published {
    pub shape: &'static str,
    pub table: &'static str,
    /// An INSERT of the rows `n` of a series, each another content; `$rows` stands for how many.
    pub fill: &'static str,
}

/// What was left when the stamping failed for want of columns.
pub const BARE: Published = Published {
    shape: "bare",
    table: "CREATE TABLE metadata_stamps (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        file_hash varchar(64) NOT NULL,
        namespace varchar(255) NOT NULL,
        stamp_data jsonb NOT NULL,
        created_at timestamptz DEFAULT now())",
    fill: "INSERT INTO metadata_stamps (file_hash, namespace, stamp_data)
        SELECT encode(sha256(n::text::bytea), 'hex'), 'projecta.services.metadata',
            jsonb_build_object('n', n) FROM generate_series(1, $rows) n",
};

pub const SERIAL: Published = Published {
    shape: "serial",
    table: "CREATE TABLE metadata_stamps (
        id SERIAL PRIMARY KEY,
        file_hash varchar(64) UNIQUE NOT NULL,
        file_path text,
        namespace varchar(255) NOT NULL,
        protocol_version varchar(10) DEFAULT '1.0',
        stamp_data jsonb NOT NULL,
        intelligence_data jsonb,
        file_metadata jsonb,
        created_at timestamp DEFAULT now(),
        updated_at timestamp DEFAULT now());
        CREATE INDEX idx_metadata_stamps_namespace ON metadata_stamps (namespace);
        CREATE INDEX idx_metadata_stamps_created_at ON metadata_stamps (created_at)",
    fill: "INSERT INTO metadata_stamps (file_hash, file_path, namespace, stamp_data)
        SELECT encode(sha256(n::text::bytea), 'hex'), 'src/' || n, 'projecta.services.metadata',
            jsonb_build_object('n', n) FROM generate_series(1, $rows) n",
};

pub const SERVICE: Published = Published {
    shape: "service",
    table: "CREATE TABLE metadata_stamps (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        file_hash varchar(64) NOT NULL UNIQUE,
        file_path text NOT NULL,
        file_size bigint NOT NULL CHECK (file_size >= 0),
        content_type varchar(255),
        stamp_data jsonb NOT NULL,
        protocol_version varchar(10) NOT NULL DEFAULT '1.0',
        intelligence_data jsonb DEFAULT '{}',
        version integer DEFAULT 1,
        op_id uuid NOT NULL DEFAULT gen_random_uuid(),
        namespace varchar(255) NOT NULL DEFAULT 'omninode.services.metadata',
        metadata_version varchar(10) NOT NULL DEFAULT '0.1',
        created_at timestamptz DEFAULT now(),
        updated_at timestamptz DEFAULT now());
        CREATE INDEX idx_metadata_stamps_stamp_data_gin ON metadata_stamps USING gin (stamp_data);
        CREATE INDEX idx_metadata_stamps_file_size ON metadata_stamps (file_size)
            WHERE file_size > 1024 * 1024;
        CREATE FUNCTION update_updated_at_column() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN NEW.updated_at = now(); RETURN NEW; END';
        CREATE TRIGGER update_metadata_stamps_updated_at BEFORE UPDATE ON metadata_stamps
            FOR EACH ROW EXECUTE FUNCTION update_updated_at_column()",
    fill: "INSERT INTO metadata_stamps (file_hash, file_path, file_size, stamp_data)
        SELECT encode(sha256(n::text::bytea), 'hex'), 'src/' || n, n, jsonb_build_object('n', n)
        FROM generate_series(1, $rows) n",
};

pub const TOOL: Published = Published {
    shape: "tool",
    table: "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);
        INSERT INTO alembic_version VALUES ('003');
        CREATE TABLE metadata_stamps (
        id uuid NOT NULL DEFAULT gen_random_uuid(),
        file_hash varchar(64) NOT NULL,
        file_path text NOT NULL,
        file_size bigint NOT NULL,
        content_type varchar(255),
        stamp_data jsonb NOT NULL,
        protocol_version varchar(10) NOT NULL DEFAULT '1.0',
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (id),
        UNIQUE (file_hash),
        CONSTRAINT check_file_size_positive CHECK (file_size >= 0));
        ALTER TABLE metadata_stamps ADD intelligence_data jsonb NOT NULL DEFAULT '{}';
        ALTER TABLE metadata_stamps ADD version integer NOT NULL DEFAULT 1;
        ALTER TABLE metadata_stamps ADD op_id uuid NOT NULL DEFAULT gen_random_uuid();
        ALTER TABLE metadata_stamps ADD namespace varchar(255) NOT NULL
            DEFAULT 'omninode.services.metadata';
        ALTER TABLE metadata_stamps ADD metadata_version varchar(10) NOT NULL DEFAULT '0.1';
        CREATE INDEX idx_metadata_stamps_op_id ON metadata_stamps (op_id)",
    fill: SERVICE.fill,
};

pub const ADAPTER: Published = Published {
    shape: "adapter",
    table: "CREATE TABLE workflow_executions (id uuid PRIMARY KEY, current_state text);
        INSERT INTO workflow_executions VALUES ('11111111-1111-4111-8111-111111111111', 'running');
        CREATE TABLE metadata_stamps (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        workflow_id uuid REFERENCES workflow_executions (id) ON DELETE SET NULL,
        file_hash varchar(128) NOT NULL,
        stamp_data jsonb NOT NULL,
        namespace varchar(255) NOT NULL,
        created_at timestamptz DEFAULT now());
        CREATE INDEX idx_metadata_stamps_workflow_id ON metadata_stamps (workflow_id);
        CREATE INDEX idx_metadata_stamps_file_hash ON metadata_stamps (file_hash)",
    fill: "INSERT INTO metadata_stamps (workflow_id, file_hash, stamp_data, namespace)
        SELECT '11111111-1111-4111-8111-111111111111', encode(sha256(n::text::bytea), 'hex'),
            jsonb_build_object('n', n), 'projecta.services.metadata'
        FROM generate_series(1, $rows) n",
};

pub const ALL: [&Published; 5] = [&BARE, &SERIAL, &SERVICE, &TOOL, &ADAPTER];

impl Published {
    /// The table's definition and so many rows.
    pub fn with_rows(&self, rows: u32) -> String {
        format!("{}; {}", self.table, self.fill.replace("$rows", &rows.to_string()))
    }
}
