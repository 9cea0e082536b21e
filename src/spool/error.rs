//! What can go wrong with a spool, told so that a person knows what to do next.

use std::io;
use std::path::PathBuf;

use crate::model::stream::StreamId;

/// Why the spool could not do something.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The state directory cannot be used: a permission.
    #[error(
        "write to the state directory {}: make it a directory that this user owns, or choose \
         another with [agent] state_dir", dir.display()
    )]
    Unwritable {
        /// The state directory.
        dir: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another process has the spool.
    #[error(
        "lock {}: {} is running with this state directory; stop it, or choose another with \
         [agent] state_dir", path.display(), holder(*pid)
    )]
    Held {
        /// The lock file.
        path: PathBuf,
        /// The process that holds it, when it could be read.
        pid: Option<u32>,
    },
    /// There is no spool.
    #[error("find a spool at {}: no agent has run with this state directory", path.display())]
    Missing {
        /// Where it would be.
        path: PathBuf,
    },
    /// The spool was written by an older stampd, and nobody but an agent may bring it up to date.
    #[error(
        "read spool {}: its version is {found} and this stampd reads {known}; start `stampd run` \
         with this version, which brings it up to date", path.display()
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The version that this binary reads.
        known: u32,
    },
    /// The spool was written by a newer stampd.
    #[error(
        "open spool {}: its version is {found} and this stampd knows {known}; run the newer stampd \
         again", path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version that this binary knows.
        known: u32,
    },
    /// The file is something else.
    #[error(
        "open spool {}: the file is not a spool of stampd; move it away, or choose another \
         directory with [agent] state_dir", path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file is damaged.
    #[error(
        "open spool {}: it is damaged ({report}); move it and the files beside it that begin with \
         its name to a safe place and start again: what a sink has confirmed is there, and what is \
         on disk is stamped anew", path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What the check found first.
        report: String,
    },
    /// This binary was linked with an SQLite that can corrupt the file.
    #[error("use SQLite {found}: stampd needs 3.51.3 or newer; rebuild it with the bundled one")]
    OldSqlite {
        /// The version found.
        found: &'static str,
    },
    /// A stored stamp is not the one that was hashed.
    #[error(
        "prove stamp {seq} of stream {stream}: its body does not give its leaf, so the spool was \
         altered or damaged"
    )]
    Altered {
        /// The stream.
        stream: StreamId,
        /// The position.
        seq: u64,
    },
    /// The spool is as large as it may be. Nothing was recorded.
    #[error(
        "append stamps: the spool holds {bytes} bytes and may hold {bytes_max}; raise \
         [spool] max_bytes, or bring the sinks back so that confirmed stamps can be purged"
    )]
    Full {
        /// Bytes in use.
        bytes: u64,
        /// The bound.
        bytes_max: u64,
    },
    /// There is no such stream here.
    #[error("find stream {0}: this spool does not hold it")]
    UnknownStream(StreamId),
    /// A sink confirms more than there is: another copy of this spool went on without us.
    #[error("confirm {size} stamps of stream {stream}: it ends at {end}")]
    BeyondEnd {
        /// The stream.
        stream: StreamId,
        /// What was confirmed.
        size: u64,
        /// Where the stream ends.
        end: u64,
    },
    /// This user may not open or write the file: another one's agent made it, as a rule.
    #[error(
        "{action} in spool {}: run as the user who owns it, or choose another directory with \
         [agent] state_dir", path.display()
    )]
    Denied {
        /// What was being done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// SQLite failed.
    #[error("{action} in spool {}", path.display())]
    Sqlite {
        /// What was being done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// The writer has ended, in order or by the error it returned.
    #[error("reach the spool's writer: it has ended")]
    Stopped,
}

impl SpoolError {
    /// Whether the writer goes on after it: a wrong request, refused before anything was changed.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::UnknownStream(_) | Self::BeyondEnd { .. })
    }
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another stampd".to_owned(), |pid| format!("another stampd (pid {pid})"))
}
