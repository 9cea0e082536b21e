//! `stampd hash FILE…`: BLAKE3 in the format of `b3sum`, and `--check` of what it wrote.
//!
//! Output, escaping and exit codes are `b3sum`'s, so that either can check what the other wrote.
//! Files are hashed several at a time, and told of in the order in which they were named.

mod check;
mod order;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::path::Path;

use indicatif::ProgressBar;

use self::order::in_order;
use super::exit::Exit;
use super::place::escaped;
use super::progress::over_bytes;
use super::shell::{Shell, print};
use crate::hash::{self, Hasher};
use crate::model::digest::Digest;
use crate::model::path::steers_terminal;

/// Lines that wait for one before them are held up to this size.
const PENDING_BYTES_MAX: usize = 64 * 1024;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Files to hash; - or none for standard input
    #[arg(default_value = "-", hide_default_value = true)]
    files: Vec<OsString>,
    /// Read digests and names from these files, and check them: exits 1 when one differs
    #[arg(long, short)]
    check: bool,
    /// Print digests only
    #[arg(long, conflicts_with = "check")]
    no_names: bool,
    /// Print BLAKE3 (name) = digest
    #[arg(long, conflicts_with_all = ["check", "no_names"])]
    tag: bool,
}

pub(super) fn run(shell: &Shell, args: &Args) -> anyhow::Result<Exit> {
    let mut desk = Desk::new(shell)?;
    if args.check {
        for file in &args.files {
            check::check_file(&mut desk, file.as_ref())?;
        }
    } else {
        desk.reader.expect(args.files.iter().map(Path::new));
        desk.tell_each(&args.files, |reader, file| sum(reader, args, file.as_ref()))?;
    }
    desk.reader.bar.finish_and_clear();
    if args.check && desk.failures > 0 {
        let plural = if desk.failures == 1 { "" } else { "s" };
        let failures = desk.failures;
        complain(&format!("WARNING: {failures} computed checksum{plural} did NOT match"));
    }
    Ok(if desk.failures == 0 { Exit::Fine } else { Exit::Unexpected })
}

/// What is said of a file.
enum Word {
    /// On standard output, where there is anything to be said.
    Fine(Option<String>),
    /// The same, of a file that is not what it should be.
    Wrong(String),
    /// On standard error.
    Complaint(String),
}

/// Reads files, from any thread, and shows how far it is.
struct Reader {
    hasher: Hasher,
    bar: ProgressBar,
    /// Whether a person reads the lines.
    on_terminal: bool,
}

impl Reader {
    /// Adds files to what the bar is over.
    fn expect<'p>(&self, paths: impl Iterator<Item = &'p Path>) {
        if !self.bar.is_hidden() {
            let sizes = paths.filter_map(|path| Some(std::fs::metadata(path).ok()?.len()));
            self.bar.inc_length(sizes.sum());
        }
    }

    /// A name as it is shown: to a program to the letter, and on a terminal so that it cannot steer it.
    fn shown(&self, name: String) -> String {
        if !self.on_terminal || !name.contains(steers_terminal) {
            return name;
        }
        let mut shown = String::with_capacity(name.len() + 16);
        for letter in name.chars() {
            if steers_terminal(letter) {
                shown.extend(letter.escape_default());
            } else {
                shown.push(letter);
            }
        }
        shown
    }

    fn digest(&self, path: &Path) -> io::Result<Digest> {
        let file = if path == Path::new("-") {
            File::from(io::stdin().as_fd().try_clone_to_owned()?)
        } else {
            File::open(path)?
        };
        self.bar.set_message(escaped(path.as_os_str()));
        self.hasher.digest_open(&file, &|bytes| self.bar.inc(bytes))
    }
}

/// Has files read, and says in order what came of them.
struct Desk {
    reader: Reader,
    /// Said, and not printed yet.
    pending: String,
    /// Whether only what is wrong is said.
    quiet: bool,
    failures: u64,
}

impl Desk {
    fn new(shell: &Shell) -> anyhow::Result<Self> {
        // In the foreground somebody waits: these threads do not yield.
        let hasher = Hasher::new(hash::Config { background: false, ..hash::Config::default() })?;
        let (bar, on_terminal) = (over_bytes(shell, 0), io::stdout().is_terminal());
        let reader = Reader { hasher, bar, on_terminal };
        Ok(Self { reader, pending: String::new(), quiet: shell.is_quiet(), failures: 0 })
    }

    /// Says `word` of every item.
    fn tell_each<T: Sync>(
        &mut self,
        items: &[T],
        word: impl Fn(&Reader, &T) -> Word + Sync,
    ) -> anyhow::Result<()> {
        let Self { reader, pending, failures, .. } = self;
        let reader: &Reader = reader;
        let show = |text: &mut String| {
            let text = std::mem::take(text);
            if reader.on_terminal { reader.bar.suspend(|| print(&text)) } else { print(&text) }
        };
        in_order(
            &reader.hasher,
            items,
            |item| word(reader, item),
            |word, is_last| {
                *failures += u64::from(!matches!(word, Word::Fine(_)));
                match word {
                    Word::Fine(None) => {}
                    Word::Fine(Some(line)) | Word::Wrong(line) => {
                        pending.push_str(&line);
                        pending.push('\n');
                    }
                    Word::Complaint(text) => {
                        show(pending)?;
                        reader.bar.suspend(|| complain(&text));
                    }
                }
                if is_last || pending.len() > PENDING_BYTES_MAX { show(pending) } else { Ok(()) }
            },
        )
    }
}

/// Hashes one file. One that cannot be read does not keep the others from being hashed.
fn sum(reader: &Reader, args: &Args, path: &Path) -> Word {
    let digest = match reader.digest(path) {
        Ok(digest) => digest,
        Err(error) => return Word::Complaint(format!("{}: {error}", escaped(path.as_os_str()))),
    };
    let (mark, name) = written(path);
    let name = reader.shown(name);
    Word::Fine(Some(match (args.no_names, args.tag) {
        (true, _) => digest.to_string(),
        (false, true) => format!("{mark}BLAKE3 ({name}) = {digest}"),
        (false, false) => format!("{mark}{digest}  {name}"),
    }))
}

/// A name as it stands on a line, and the mark of a line on which it is escaped.
fn written(path: &Path) -> (&'static str, String) {
    let name = path.to_string_lossy();
    if !name.contains(['\\', '\n', '\r']) {
        return ("", name.into_owned());
    }
    ("\\", name.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r"))
}

/// In `b3sum`'s way: its name, and what is wrong.
fn complain(text: &str) {
    use std::io::Write as _;
    // Without stderr there is nobody to tell.
    let _ = writeln!(io::stderr(), "stampd: {text}");
}
