//! The state directory: ours alone, and one process's at a time.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use super::error::SpoolError;

/// The lock on a state directory, held until it is dropped or the process ends however it ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// Makes the state directory if it is missing, keeps others out of it, and locks it.
pub(super) fn acquire(dir: &Path) -> Result<Lock, SpoolError> {
    let unwritable = |source| SpoolError::Unwritable { dir: dir.to_owned(), source };
    prepare(dir).map_err(unwritable)?;
    let path = dir.join("spool.lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(unwritable)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(SpoolError::Held { pid: holder(&mut file), path });
        }
        Err(TryLockError::Error(source)) => return Err(unwritable(source)),
    }
    name_holder(&mut file).map_err(unwritable)?;
    Ok(Lock { _file: file })
}

fn prepare(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    // A service manager or an unpacked backup may have made it wider.
    if fs::metadata(dir)?.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(dir, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Written after the lock is ours, so that whoever is refused can say by whom.
fn name_holder(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
