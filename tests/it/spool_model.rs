//! The spool against a model: any order of appending, confirming, purging, stopping, dying and
//! reopening leaves what the model says, and nothing else.
//!
//! Dying is a copy of the files as they are between two commits, opened elsewhere while the first
//! writer still holds its own: what a power cut leaves behind.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use stampd::model::batch::Entry;
use stampd::model::content::Row;
use stampd::model::digest::Digest;
use stampd::model::stamp::{Kind, Stamp};
use stampd::model::stream::{CompactRange, Leaf, StreamId};
use stampd::runtime::clock::Clock;
use stampd::spool::{Config, Contents, Repo};

use crate::spool::{NOON, Running, config, file, gone, moved, path, seed, spec};
use crate::spool_contents::order;
use crate::support::block_on;

const PATHS: [&str; 4] = ["a", "b", "dir/c", "dir/d"];
const CONTENTS: [&str; 4] = ["w", "x", "y", "z"];
const SINKS: [&str; 2] = ["kafka", "postgres"];
const RETENTION: Duration = Duration::from_mins(1);

/// Whose stream.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Owner {
    Repo,
    Api,
}

#[derive(Clone, Debug)]
enum Action {
    Write { path: usize, version: i64 },
    Delete { path: usize },
    Rename { from: usize, to: usize },
    Stamp { contents: Vec<usize> },
    Confirm { owner: Owner, sink: usize, of_100: u64 },
    Forget { sink: usize },
    Pass { seconds: u64 },
    Purge,
    Fork { owner: Owner, of_100: u64 },
    Stop,
    Die,
}

fn action() -> impl Strategy<Value = Action> {
    let (path, sink) = (0..PATHS.len(), 0..SINKS.len());
    let owner = prop_oneof![Just(Owner::Repo), Just(Owner::Api)];
    prop_oneof![
        8 => (path.clone(), 0..3_i64).prop_map(|(path, version)| Action::Write { path, version }),
        3 => path.clone().prop_map(|path| Action::Delete { path }),
        2 => (path.clone(), path).prop_map(|(from, to)| Action::Rename { from, to }),
        5 => prop::collection::vec(0..CONTENTS.len(), 1..4)
            .prop_map(|contents| Action::Stamp { contents }),
        4 => (owner.clone(), sink.clone(), 0..=100_u64)
            .prop_map(|(owner, sink, of_100)| Action::Confirm { owner, sink, of_100 }),
        1 => sink.prop_map(|sink| Action::Forget { sink }),
        2 => (1..120_u64).prop_map(|seconds| Action::Pass { seconds }),
        3 => Just(Action::Purge),
        1 => (owner, 0..=100_u64).prop_map(|(owner, of_100)| Action::Fork { owner, of_100 }),
        1 => Just(Action::Stop),
        2 => Just(Action::Die),
    ]
}

/// What a stamp tells, as far as the model knows: its kind, and which path or content.
type Told = (Kind, Option<usize>);

/// What the spool must hold.
#[derive(Clone, Debug, Default)]
struct Model {
    /// Inode and version of what is at each path.
    files: BTreeMap<usize, (u64, i64)>,
    inodes: u64,
    /// What every stamp told, per stream; of an owner's last stream, all that was acknowledged.
    streams: Vec<(StreamId, Owner, Vec<Told>)>,
    /// The first row of each content.
    contents: BTreeMap<usize, Arc<Row>>,
    /// Where a fork ended a stream.
    ends: BTreeMap<StreamId, u64>,
    cursors: BTreeMap<(usize, StreamId), u64>,
    /// Those that ever confirmed anything, until they are forgotten.
    sinks: BTreeSet<usize>,
    /// What every sink of the time had confirmed when bodies were purged.
    purgeable: BTreeSet<(StreamId, u64)>,
}

impl Model {
    fn newest(&mut self, owner: Owner) -> &mut Vec<Told> {
        let mut newest_first = self.streams.iter_mut().rev();
        &mut newest_first.find(|(_, of, _)| *of == owner).unwrap().2
    }

    fn size(&self, stream: StreamId) -> u64 {
        let held = self.streams.iter().find(|(id, ..)| *id == stream).unwrap().2.len() as u64;
        self.ends.get(&stream).map_or(held, |&end| end.min(held))
    }

    fn note_purgeable(&mut self) {
        for (stream, ..) in &self.streams {
            let confirmed = |sink| self.cursors.get(&(sink, *stream)).copied().unwrap_or(0);
            let by_all = self.sinks.iter().copied().map(confirmed).min().unwrap_or(0);
            self.purgeable.extend((0..by_all).map(|seq| (*stream, seq)));
        }
    }

    fn scaled(&self, owner: Owner, of_100: u64) -> (StreamId, u64) {
        let stream = self.streams.iter().rfind(|(_, of, _)| *of == owner).unwrap().0;
        (stream, self.size(stream) * of_100 / 100)
    }
}

struct World {
    dir: tempfile::TempDir,
    clock: Clock,
    /// None only while it is being opened again.
    open: Option<(Running, Repo, Contents)>,
    model: Model,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut world = Self { dir, clock: Clock::mock(NOON), open: None, model: Model::default() };
        world.reopen();
        world
    }

    fn config(&self) -> Config {
        Config { retention: RETENTION, ..config(self.dir.path()) }
    }

    fn reopen(&mut self) {
        let running = Running::open(&self.config(), &seed(), &self.clock);
        let repo = running.spool.open_repo(spec()).unwrap();
        let contents = running.spool.contents().unwrap();
        let heads = running.spool.reader().unwrap().streams().unwrap();
        // A copy of the files has another inode: it must go on in another stream.
        for head in &heads[self.model.streams.len()..] {
            let owner = if head.repo == repo.id() { Owner::Repo } else { Owner::Api };
            self.model.streams.push((head.stream, owner, vec![(Kind::Opened, None)]));
        }
        self.open = Some((running, repo, contents));
    }

    fn running(&self) -> &Running {
        &self.open.as_ref().unwrap().0
    }

    fn repo(&self) -> &Repo {
        &self.open.as_ref().unwrap().1
    }

    fn act(&mut self, action: &Action) {
        match *action {
            Action::Stamp { ref contents } => self.stamp(contents),
            Action::Write { path, version } => self.write(path, version),
            Action::Delete { path } => self.delete(path),
            Action::Rename { from, to } => self.rename(from, to),
            Action::Confirm { owner, sink, of_100 } => {
                let (stream, size) = self.model.scaled(owner, of_100);
                self.running().spool.confirm(SINKS[sink], stream, size).wait().unwrap();
                self.model.cursors.insert((sink, stream), size);
                self.model.sinks.insert(sink);
            }
            Action::Forget { sink } => {
                self.running().spool.forget(SINKS[sink]).wait().unwrap();
                self.model.cursors.retain(|&(of, _), _| of != sink);
                self.model.sinks.remove(&sink);
            }
            Action::Pass { seconds } => self.clock.advance(Duration::from_secs(seconds)),
            Action::Purge => {
                self.model.note_purgeable();
                while self.running().spool.purge(self.clock.now()).wait().unwrap().more {}
            }
            Action::Fork { owner, of_100 } => self.fork(owner, of_100),
            Action::Stop => {
                let (running, repo, contents) = self.open.take().unwrap();
                drop((repo, contents));
                running.stop();
                self.reopen();
            }
            Action::Die => self.die(),
        }
    }

    fn write(&mut self, at: usize, version: i64) {
        let before = self.model.files.get(&at).copied();
        let ino = before.map_or_else(|| self.model.inodes + 1, |(ino, _)| ino);
        self.model.inodes = self.model.inodes.max(ino);
        let done = self.repo().append(vec![file(PATHS[at], ino, version)]).wait().unwrap();
        self.model.files.insert(at, (ino, version));
        let kind = match before {
            None => Some(Kind::Created),
            Some((_, old)) => (old != version).then_some(Kind::Modified),
        };
        assert_eq!(done.stamps.first().map(|stamped| stamped.kind), kind);
        self.model.newest(Owner::Repo).extend(kind.map(|kind| (kind, Some(at))));
    }

    fn delete(&mut self, at: usize) {
        let done = self.repo().append(vec![gone(PATHS[at])]).wait().unwrap();
        let known = self.model.files.remove(&at).is_some();
        assert_eq!(done.stamps.len(), usize::from(known));
        if known {
            self.model.newest(Owner::Repo).push((Kind::Deleted, Some(at)));
        }
    }

    fn rename(&mut self, from: usize, to: usize) {
        if from == to {
            return;
        }
        let Some((ino, version)) = self.model.files.remove(&from) else { return };
        let observed = moved(PATHS[from], PATHS[to], ino, version);
        let done = self.repo().append(vec![observed]).wait().unwrap();
        assert_eq!(done.stamps.len(), 1);
        self.model.files.insert(to, (ino, version));
        self.model.newest(Owner::Repo).push((Kind::Renamed, Some(to)));
    }

    fn stamp(&mut self, asked: &[usize]) {
        let orders = asked.iter().map(|&at| order(CONTENTS[at], Some(CONTENTS[at]))).collect();
        let contents = &self.open.as_ref().unwrap().2;
        let stamped = block_on(|| contents.stamp(orders)).unwrap();
        for (&at, stamped) in asked.iter().zip(stamped) {
            let held = self.model.contents.get(&at);
            assert_eq!(stamped.fresh, held.is_none());
            assert_eq!(*held.unwrap_or(&stamped.row), stamped.row);
            if stamped.fresh {
                self.model.contents.insert(at, stamped.row);
                self.model.newest(Owner::Api).push((Kind::Api, Some(at)));
            }
        }
    }

    fn fork(&mut self, owner: Owner, of_100: u64) {
        let (old, at) = self.model.scaled(owner, of_100);
        let new = self.running().spool.new_epoch(old, at).wait().unwrap();
        assert_ne!(new, old);
        let reader = self.running().spool.reader().unwrap();
        let tail = self.model.newest(owner)[at as usize..].to_vec();
        // What every sink had confirmed may be purged, and is not told again.
        let size = reader.streams().unwrap().last().unwrap().size;
        let mut again = vec![(Kind::Opened, None)];
        again.extend(tail.into_iter().filter(|(kind, _)| *kind != Kind::Opened));
        assert!(size <= again.len() as u64);
        if size < again.len() as u64 {
            again = told(&reader, new, size);
        }
        self.model.ends.insert(old, at);
        self.model.streams.push((new, owner, again));
    }

    /// Goes on with a copy of the files as they are now; the writer that has the originals is
    /// dropped without its goodbye reaching the copy.
    fn die(&mut self) {
        let copy = tempfile::tempdir().unwrap();
        std::fs::create_dir(copy.path().join("state")).unwrap();
        for name in ["spool.db", "spool.db-wal"] {
            let from = self.config().state_dir.join(name);
            std::fs::copy(from, copy.path().join("state").join(name)).unwrap();
        }
        let (running, repo, contents) = self.open.take().unwrap();
        drop((repo, contents));
        running.stop();
        self.dir = copy;
        self.reopen();
    }

    fn check(&self) {
        let reader = self.running().spool.reader().unwrap();
        let heads = reader.streams().unwrap();
        assert_eq!(heads.len(), self.model.streams.len());
        for (head, (stream, _, stamps)) in heads.iter().zip(&self.model.streams) {
            assert_eq!(head.stream, *stream);
            assert_eq!(head.size, self.model.size(*stream));
            self.check_stream(&reader, *stream, &stamps[..head.size as usize], head.root);
        }
        self.check_index(&reader);
        self.check_contents();
        for (sink, name) in SINKS.iter().enumerate() {
            let queued: u64 = self
                .model
                .streams
                .iter()
                .map(|(id, ..)| {
                    let confirmed = self.model.cursors.get(&(sink, *id)).copied().unwrap_or(0);
                    self.model.size(*id).saturating_sub(confirmed)
                })
                .sum();
            assert_eq!(reader.queued(name).unwrap(), queued);
            assert_eq!(reader.oldest(name).unwrap().is_some(), queued > 0);
        }
    }

    fn check_stream(
        &self,
        reader: &stampd::spool::Reader,
        stream: StreamId,
        stamps: &[Told],
        root: [u8; 32],
    ) {
        let batch = reader.batch(stream, 0, usize::MAX >> 1, usize::MAX).unwrap();
        assert_eq!(batch.entries.len(), stamps.len());
        let mut tree = CompactRange::default();
        for ((entry, (kind, at)), seq) in batch.entries.iter().zip(stamps).zip(0..) {
            tree.push(entry.leaf());
            match entry {
                Entry::Stamp(sealed) => {
                    assert_eq!(sealed.leaf, Leaf::of(sealed.body.as_bytes()));
                    assert_eq!((sealed.stamp.seq, sealed.stamp.kind), (seq, *kind));
                    assert_eq!(place(&sealed.stamp), *at);
                }
                Entry::Withheld { .. } => {
                    assert!(self.model.purgeable.contains(&(stream, seq)), "{kind} {seq} is gone");
                    assert_ne!(*kind, Kind::Api, "a content is kept");
                }
            }
        }
        if !self.model.ends.contains_key(&stream) {
            assert_eq!(tree.root(), root);
        }
    }

    fn check_contents(&self) {
        let contents = &self.open.as_ref().unwrap().2;
        for (at, content) in CONTENTS.iter().enumerate() {
            let digest = Digest::of(content.as_bytes());
            let found = block_on(|| contents.find(&digest, None, None));
            assert_eq!(found.unwrap().first(), self.model.contents.get(&at).map(|row| &**row));
        }
        let (total, page) = block_on(|| contents.page("a.b.c", 1_000, 0)).unwrap();
        assert_eq!((total, page.len()), (page.len() as u64, self.model.contents.len()));
    }

    fn check_index(&self, reader: &stampd::spool::Reader) {
        let known = self.repo().known();
        assert_eq!(known.len(), self.model.files.len());
        for (at, name) in PATHS.iter().enumerate() {
            let row = reader.row(self.repo().id(), &path(name)).unwrap();
            let present = row.filter(stampd::model::change::Row::is_present);
            let held = present.and_then(|row| row.mark).map(|mark| mark.ino);
            assert_eq!(held, self.model.files.get(&at).map(|&(ino, _)| ino), "{name}");
            if let Some(newest) = reader.history(self.repo().id(), &path(name), 1).unwrap().first()
                && self.model.files.contains_key(&at)
            {
                assert_eq!(newest.stamp.path, Some(path(name)), "a present path ends its history");
            }
        }
    }
}

/// Which path or content a stamp tells of.
fn place(stamp: &Stamp) -> Option<usize> {
    let names = if stamp.kind == Kind::Api { CONTENTS } else { PATHS };
    names.iter().position(|name| stamp.place().as_deref() == Some(name))
}

/// What the stamps of a stream tell whose bodies are all there.
fn told(reader: &stampd::spool::Reader, stream: StreamId, size: u64) -> Vec<Told> {
    let batch = reader.batch(stream, 0, size as usize, usize::MAX).unwrap();
    batch
        .entries
        .iter()
        .map(|entry| match entry {
            Entry::Stamp(sealed) => (sealed.stamp.kind, place(&sealed.stamp)),
            Entry::Withheld { .. } => panic!("what was appended again has its body"),
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_life_of_a_spool_ends_as_the_model_says(actions in prop::collection::vec(action(), 1..40)) {
        let mut world = World::new();
        for action in &actions {
            world.act(action);
        }
        world.check();
    }
}

#[test]
fn what_was_acknowledged_survives_a_copy_taken_after_any_commit() {
    let mut world = World::new();
    for version in 0..30 {
        world.write(version as usize % PATHS.len(), version);
        world.stamp(&[version as usize % CONTENTS.len()]);
        copy_holds(&world, world.dir.path());
    }
    world.check();
}

/// The copy is opened by a writer of its own and holds all that was acknowledged.
fn copy_holds(world: &World, from: &Path) {
    let copy = tempfile::tempdir().unwrap();
    std::fs::create_dir(copy.path().join("state")).unwrap();
    for name in ["spool.db", "spool.db-wal"] {
        let to = copy.path().join("state").join(name);
        std::fs::copy(from.join("state").join(name), to).unwrap();
    }
    let running = Running::open(&config(copy.path()), &seed(), &world.clock);
    for (stream, _, stamps) in &world.model.streams {
        let batch = running.spool.reader().unwrap().batch(*stream, 0, 1_000, 1 << 20).unwrap();
        assert_eq!(batch.entries.len(), stamps.len());
    }
    running.stop();
}
