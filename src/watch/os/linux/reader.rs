//! The thread that reads an inotify instance, and what others may ask of it.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify;
use rustix::io::Errno;

use super::Instance;
use super::event::{self, RawEvent};
use super::mounts::Mounts;
use crate::runtime::time::Timestamp;
use crate::watch::{RootHint, Shared};

/// Room for about 2,000 events: few enough that who waits for the state waits under a millisecond.
const BUFFER_BYTES: usize = 64 * 1024;

/// Watches removed between two reads. Each removal puts an event into the kernel's queue, which
/// holds 16,384, so removing a large subtree at once would overflow it.
const REMOVE_MAX: usize = 512;

/// A test's hands on the events of each read.
pub type Tap = Box<dyn FnMut(&mut Vec<RawEvent>) + Send>;

/// What the reading thread shares with its [`Source`](super::Source).
pub(super) struct Reader {
    /// Replaced by a reset. Locked after the watch's state where both are.
    instance: Mutex<Instance>,
    /// An eventfd that wakes the reader for anything but events.
    kick: OwnedFd,
    stop: AtomicBool,
    /// Held by the reader while it reads; a test that holds it stalls the reader.
    gate: Mutex<()>,
    tap: Mutex<Option<Tap>>,
    /// Written once by the reader.
    tid: AtomicI32,
}

/// What the thread alone has.
struct Own {
    buffer: Vec<MaybeUninit<u8>>,
    mounts: Option<Mounts>,
    /// The instance that failed: until it is replaced, only a kick is worth waiting for.
    blind: Option<u64>,
}

impl Own {
    fn look_at_mounts(&mut self, shared: &Shared) {
        if self.mounts.as_mut().is_some_and(|mounts| mounts.turn(&shared.root)) {
            shared.absorb(|state| state.pending.note_root(RootHint::Remounted));
        }
    }
}

impl Reader {
    pub(super) fn new(instance: Instance) -> io::Result<Self> {
        Ok(Self {
            instance: Mutex::new(instance),
            kick: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            stop: AtomicBool::new(false),
            gate: Mutex::new(()),
            tap: Mutex::new(None),
            tid: AtomicI32::new(0),
        })
    }

    pub(super) fn instance(&self) -> MutexGuard<'_, Instance> {
        self.instance.lock().expect("no holder of the instance panics")
    }

    pub(super) fn gate(&self) -> MutexGuard<'_, ()> {
        self.gate.lock().expect("no holder of the gate panics")
    }

    fn tapped(&self) -> MutexGuard<'_, Option<Tap>> {
        self.tap.lock().expect("no tap panics")
    }

    pub(super) fn set_tap(&self, tap: Tap) {
        *self.tapped() = Some(tap);
    }

    pub(super) fn tid(&self) -> i32 {
        self.tid.load(Ordering::Acquire)
    }

    /// Wakes the thread.
    pub(super) fn kick(&self) {
        // Fails only when the counter is full, and then the reader is about to wake anyway.
        let _ = rustix::io::write(&self.kick, &1_u64.to_ne_bytes());
    }

    /// Has the thread end.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.kick();
    }

    /// The thread's body.
    pub(super) fn run(&self, shared: &Shared) {
        self.tid.store(rustix::thread::gettid().as_raw_nonzero().get(), Ordering::Release);
        let mut own = Own {
            buffer: vec![MaybeUninit::uninit(); BUFFER_BYTES],
            mounts: Mounts::open(),
            blind: None,
        };
        own.look_at_mounts(shared);
        while !self.stop.load(Ordering::Acquire) {
            let (fd, generation) = {
                let instance = self.instance();
                (Arc::clone(&instance.fd), instance.generation)
            };
            if let Err(errno) = self.turn(shared, &mut own, &fd, generation) {
                own.blind = Some(generation);
                shared.absorb(|state| state.pending.note_blind(errno.into()));
            }
        }
    }

    /// Removes, waits, reads; without reading when the instance has failed.
    fn turn(
        &self,
        shared: &Shared,
        own: &mut Own,
        fd: &OwnedFd,
        generation: u64,
    ) -> rustix::io::Result<()> {
        // The queue is empty here, or was before watches were removed, which loses nothing.
        let empty_at = shared.clock.now();
        let more = self.remove_doomed(shared, fd, generation);
        let sees = own.blind != Some(generation);
        if self.wait(sees.then_some(fd), own.mounts.as_ref(), more)? {
            own.look_at_mounts(shared);
        }
        if sees { self.drain(shared, (fd, generation), &mut own.buffer, empty_at) } else { Ok(()) }
    }

    /// Sleeps until there is something to do; not at all when there is `more` of it. Tells whether
    /// the list of mounts has changed.
    fn wait(
        &self,
        events: Option<&OwnedFd>,
        mounts: Option<&Mounts>,
        more: bool,
    ) -> rustix::io::Result<bool> {
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut fds = vec![PollFd::new(&self.kick, PollFlags::IN)];
        fds.extend(events.map(|fd| PollFd::new(fd, PollFlags::IN)));
        fds.extend(mounts.map(|mounts| PollFd::new(mounts, PollFlags::PRI)));
        match poll(&mut fds, more.then_some(&at_once)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        // Takes back all kicks at once; fails when there was none.
        let _ = rustix::io::read(&self.kick, &mut [0; 8]);
        Ok(fds.last().is_some_and(|last| last.revents().contains(PollFlags::PRI)))
    }

    /// Reads until the queue is empty. `empty_at` is when it was last seen so.
    fn drain(
        &self,
        shared: &Shared,
        (fd, generation): (&OwnedFd, u64),
        buffer: &mut [MaybeUninit<u8>],
        empty_at: Timestamp,
    ) -> rustix::io::Result<()> {
        let mut reader = inotify::Reader::new(fd, buffer);
        let mut events = Vec::new();
        loop {
            let _open = self.gate();
            read_once(&mut reader, &mut events)?;
            if events.is_empty() {
                return Ok(());
            }
            if let Some(tap) = &mut *self.tapped() {
                tap(&mut events);
            }
            self.absorb(shared, generation, &events, empty_at);
        }
    }

    /// Decodes events, unless a reset has made them another instance's.
    pub(super) fn absorb(
        &self,
        shared: &Shared,
        generation: u64,
        events: &[RawEvent],
        empty_at: Timestamp,
    ) {
        let at = shared.now();
        shared.absorb(|state| {
            let mut instance = self.instance();
            if instance.generation != generation {
                return;
            }
            for event in events {
                event::decode(shared, state, &mut instance, event, (at, empty_at));
            }
            state.events += events.len() as u64;
        });
    }

    /// Removes some of the watches that stand for nothing any more; tells whether more are left.
    fn remove_doomed(&self, shared: &Shared, fd: &OwnedFd, generation: u64) -> bool {
        let mut state = shared.lock();
        if state.table.doomed() == 0 || self.instance().generation != generation {
            return false;
        }
        // Under the lock, so that none of them is armed again in between.
        for wd in state.table.take_doomed(REMOVE_MAX) {
            // Fails when its directory was deleted, which removed it.
            let _ = inotify::remove_watch(fd, wd);
        }
        state.table.doomed() > 0
    }
}

/// Reads once from the kernel and takes everything that came; nothing when the queue is empty.
fn read_once(
    reader: &mut inotify::Reader<'_, &OwnedFd>,
    events: &mut Vec<RawEvent>,
) -> rustix::io::Result<()> {
    events.clear();
    loop {
        match reader.next() {
            Ok(event) => events.push(RawEvent::from(&event)),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(()),
            Err(errno) => return Err(errno),
        }
        if reader.is_buffer_empty() && !events.is_empty() {
            return Ok(());
        }
    }
}
