//! What the catalog says of the old table: whether it can be adopted, and what hangs on it.

use tokio_postgres::Transaction;
use tokio_postgres::error::SqlState;

use super::mapping::{Mapping, TRY_JSONB};
use super::shape::{Column, Shape};
use super::{AdoptError, Found, SETTINGS};

/// How firmly the table is held while it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Hold {
    /// Readers and writers go on.
    Loose,
    /// Nobody else comes near it before the transaction ends.
    Fast,
}

/// Finds out what the table is, and refuses one that cannot be adopted.
pub(in crate::store) async fn look(tx: &Transaction<'_>, hold: Hold) -> Result<Found, AdoptError> {
    tx.batch_execute(SETTINGS).await?;
    refuse_strangers(tx).await?;
    if hold == Hold::Fast {
        lock(tx).await?;
    }
    let columns = columns(tx).await?;
    let shape = Shape::of(&columns).map_err(AdoptError::Unrecognised)?;
    let in_the_way = names(tx, IN_THE_WAY).await?;
    if !in_the_way.is_empty() {
        return Err(AdoptError::InTheWay(in_the_way));
    }
    let mapping = Mapping::new(columns, unique_id(tx).await?);
    if mapping.reads_json() {
        tx.batch_execute(TRY_JSONB).await?;
    }
    let (readers, gone) = (names(tx, READERS).await?, names(tx, GONE).await?);
    let rows: i64 =
        tx.query_one("SELECT count(*) FROM public.metadata_stamps", &[]).await?.try_get(0)?;
    Ok(Found { shape, mapping, readers, gone, rows: rows as u64 })
}

/// Refuses what is no table, and a table that is not ours to change.
async fn refuse_strangers(tx: &Transaction<'_>) -> Result<(), AdoptError> {
    let row = tx
        .query_one(
            "SELECT relkind::text, pg_get_userbyid(relowner)::text, current_user::text,
                pg_has_role(relowner, 'USAGE'), row_security_active(oid)
            FROM pg_class WHERE oid = 'public.metadata_stamps'::regclass",
            &[],
        )
        .await?;
    match row.try_get(0)? {
        "r" | "p" => {}
        "v" | "m" => return Err(AdoptError::Unrecognised("it is a view".to_owned())),
        _ => return Err(AdoptError::Unrecognised("it is no table".to_owned())),
    }
    let login: String = row.try_get(2)?;
    let (is_owner, hides_rows) = (row.try_get(3)?, row.try_get(4)?);
    match (is_owner, hides_rows) {
        (false, _) => Err(AdoptError::NotOwner { owner: row.try_get(1)?, login }),
        (true, true) => Err(AdoptError::Hidden(login)),
        (true, false) => Ok(()),
    }
}

/// Waits, within the session's bound, until nobody else uses the table.
async fn lock(tx: &Transaction<'_>) -> Result<(), AdoptError> {
    let locked = tx.batch_execute("LOCK TABLE public.metadata_stamps IN ACCESS EXCLUSIVE MODE");
    locked.await.map_err(|error| match error.code() {
        Some(&SqlState::LOCK_NOT_AVAILABLE) => AdoptError::InUse,
        _ => error.into(),
    })
}

async fn columns(tx: &Transaction<'_>) -> Result<Vec<Column>, AdoptError> {
    let rows = tx
        .query(
            "SELECT a.attname::text, base.typname::text, base.typcategory::text, a.attnotnull
            FROM pg_attribute a
            JOIN pg_type t ON t.oid = a.atttypid
            JOIN pg_type base ON base.oid = CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END
            WHERE a.attrelid = 'public.metadata_stamps'::regclass AND a.attnum > 0
                AND NOT a.attisdropped
            ORDER BY a.attnum",
            &[],
        )
        .await?;
    let column = |row: &tokio_postgres::Row| {
        Ok(Column::new(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?))
    };
    rows.iter().map(column).collect::<Result<_, tokio_postgres::Error>>().map_err(Into::into)
}

/// Whether no two rows of the old table share an id.
async fn unique_id(tx: &Transaction<'_>) -> Result<bool, AdoptError> {
    let query = "SELECT EXISTS (
        SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attname = 'id'
        WHERE i.indrelid = 'public.metadata_stamps'::regclass AND i.indisunique AND i.indisvalid
            AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
            AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum)";
    Ok(tx.query_one(query, &[]).await?.try_get(0)?)
}

pub(super) async fn names(tx: &Transaction<'_>, query: &str) -> Result<Vec<String>, AdoptError> {
    let rows = tx.query(query, &[]).await?;
    let names = rows.iter().map(|row| row.try_get(0));
    Ok(names.collect::<Result<_, tokio_postgres::Error>>()?)
}

/// What depends on the table from outside: on itself, its row type, its constraints and indexes, or
/// the sequences that it owns. A publication would lose the table silently.
const IN_THE_WAY: &str = "
    WITH own (class, id) AS (
        SELECT 'pg_class'::regclass, 'public.metadata_stamps'::regclass::oid
        UNION ALL SELECT 'pg_type'::regclass, t.oid FROM pg_type t
            WHERE t.typrelid = 'public.metadata_stamps'::regclass
        UNION ALL SELECT 'pg_type'::regclass, t.typarray FROM pg_type t
            WHERE t.typrelid = 'public.metadata_stamps'::regclass
        UNION ALL SELECT 'pg_constraint'::regclass, c.oid FROM pg_constraint c
            WHERE c.conrelid = 'public.metadata_stamps'::regclass
        UNION ALL SELECT 'pg_class'::regclass, i.indexrelid FROM pg_index i
            WHERE i.indrelid = 'public.metadata_stamps'::regclass
        UNION ALL SELECT 'pg_class'::regclass, d.objid FROM pg_depend d
            JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
            WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
                AND d.refobjid = 'public.metadata_stamps'::regclass AND d.deptype IN ('a', 'i')
    ), dependents AS (
        SELECT DISTINCT d.classid, d.objid FROM pg_depend d
        JOIN own ON own.class = d.refclassid AND own.id = d.refobjid
        WHERE (d.deptype = 'n' OR d.classid = 'pg_publication_rel'::regclass)
            AND NOT EXISTS (SELECT FROM own o WHERE o.class = d.classid AND o.id = d.objid)
    )
    SELECT DISTINCT CASE
        WHEN r.oid IS NOT NULL THEN pg_describe_object('pg_class'::regclass, r.ev_class, 0)
        ELSE pg_describe_object(d.classid, d.objid, 0) END
    FROM dependents d
    LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
    LEFT JOIN pg_attrdef a ON d.classid = 'pg_attrdef'::regclass AND a.oid = d.objid
    LEFT JOIN pg_policy p ON d.classid = 'pg_policy'::regclass AND p.oid = d.objid
    LEFT JOIN pg_trigger t ON d.classid = 'pg_trigger'::regclass AND t.oid = d.objid
    WHERE coalesce(r.ev_class, a.adrelid, p.polrelid, t.tgrelid, 0)
        <> 'public.metadata_stamps'::regclass
    UNION
    SELECT format('%s, which it is a part of', i.inhparent::regclass) FROM pg_inherits i
    WHERE i.inhrelid = 'public.metadata_stamps'::regclass
    ORDER BY 1";

/// Who may read the table, ready to be granted to.
const READERS: &str = "
    SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee))
        END
    FROM pg_class c, aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a
    WHERE c.oid = 'public.metadata_stamps'::regclass AND a.privilege_type = 'SELECT'
        AND pg_get_userbyid(a.grantee) <> current_user
    ORDER BY 1";

/// What goes with the table.
const GONE: &str = "
    SELECT 'index ' || c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid = 'public.metadata_stamps'::regclass
    UNION ALL SELECT 'trigger ' || tgname FROM pg_trigger
    WHERE tgrelid = 'public.metadata_stamps'::regclass AND NOT tgisinternal
    UNION ALL SELECT 'rule ' || rulename FROM pg_rewrite
    WHERE ev_class = 'public.metadata_stamps'::regclass
    UNION ALL SELECT 'policy ' || polname FROM pg_policy
    WHERE polrelid = 'public.metadata_stamps'::regclass
    UNION ALL SELECT CASE contype WHEN 'f' THEN 'foreign key ' ELSE 'check ' END || conname
    FROM pg_constraint WHERE conrelid = 'public.metadata_stamps'::regclass AND contype IN ('c', 'f')
    UNION ALL SELECT format('%s of %s', lower(a.privilege_type),
        CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END)
    FROM pg_class c, aclexplode(c.relacl) a
    WHERE c.oid = 'public.metadata_stamps'::regclass AND a.grantee <> c.relowner
        AND a.privilege_type IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')
    UNION ALL SELECT format('%s on column %s of %s', lower(a.privilege_type), c.attname,
        CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END)
    FROM pg_attribute c, aclexplode(c.attacl) a
    WHERE c.attrelid = 'public.metadata_stamps'::regclass
    ORDER BY 1";
