//! A migrated record in Postgres, and pieces of streams to append to it.

use std::ops::Range;
use std::sync::Arc;

use stampd::model::batch::{Batch, Entry};
use stampd::model::body::{Rendered, seal};
use stampd::model::digest::Digest;
use stampd::model::path::RepoPath;
use stampd::model::stamp::{Agent, Context, Detail, Kind, Sealed, Stamp};
use stampd::model::stream::StreamId;
use stampd::runtime::secret::Secret;
use stampd::runtime::time::Timestamp;
use stampd::store::address::Address as Road;
use stampd::store::{Config, Session, migrate};
use uuid::Uuid;

use super::postgres::{Address, Database};

/// A migrated database and a login that may append to it.
pub struct Record {
    pub database: Database,
    pub agent: Address,
}

impl Record {
    /// Makes a database, migrates it and makes an agent's login.
    pub async fn create() -> Self {
        let mut database = Database::create();
        migrate::run(&mut session(&database.admin()).await, &mut |_| ())
            .await
            .expect("it migrates");
        let agent = database.login("stampd_agent");
        Self { database, agent }
    }

    /// The number that a query of the superuser's gives.
    pub async fn count(&self, query: &str) -> i64 {
        let row = self.database.admin().connect().await.query_one(query, &[]).await;
        row.expect("the query gives a row").get(0)
    }
}

/// How stampd would be told to reach an address.
pub fn config(address: &Address) -> Config {
    Config {
        url: address.url_without_password(),
        password: Some(Secret::env("PASSWORD", &address.password)),
        ..Config::default()
    }
}

/// A session there.
pub async fn session(address: &Address) -> Session {
    let road = Road::parse(&config(address)).expect("the URL is good");
    Session::open(&road).await.expect("the database answers")
}

/// A new stream's identity.
pub fn stream() -> StreamId {
    StreamId::from_uuid(Uuid::now_v7())
}

/// A stamp of a content, another for each position, the same each time.
pub fn stamp(stream: StreamId, seq: u64) -> Stamp {
    let context = Context {
        agent: Agent { id: "agent-1".into(), host: "host".into(), version: "0.1.0".into() },
        repo: Some("app".into()),
        namespace: "projecta.services.metadata".parse().expect("a namespace"),
        labels: [("team".to_owned(), "core".to_owned())].into(),
        git: None,
        file: None,
    };
    let time = Timestamp::from_nanos(1_764_043_557_000_000_001 + seq as i64);
    Stamp {
        stream,
        seq,
        kind: Kind::Created,
        context: Arc::new(context),
        path: RepoPath::new(format!("src/{seq}.rs").as_bytes()),
        from: None,
        digest: Some(Digest::of(format!("{stream}/{seq}").as_bytes())),
        prev: None,
        size: Some(seq),
        mode: Some(0o644),
        mtime: Some(time),
        seen: time,
        stamped: time,
        detail: Detail::default(),
    }
}

/// Renders a stamp.
pub fn sealed(stamp: Stamp) -> Sealed {
    let shared = Rendered::new(Arc::clone(&stamp.context));
    seal(stamp, &shared)
}

/// A stamp as an entry.
pub fn entry(stamp: Stamp) -> Entry {
    Entry::Stamp(Box::new(sealed(stamp)))
}

/// The position of a stamp without its body.
pub fn withheld(stamp: Stamp) -> Entry {
    let since = stamp.stamped;
    Entry::Withheld { leaf: sealed(stamp).leaf, reason: "purged".into(), since }
}

/// A piece of a stream.
pub fn piece(stream: StreamId, seqs: Range<u64>) -> Batch {
    let entries = seqs.clone().map(|seq| entry(stamp(stream, seq))).collect();
    Batch { stream, first_seq: seqs.start, entries }
}
