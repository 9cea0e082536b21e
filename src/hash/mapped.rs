//! Windows of a file mapped into memory, and the guard that keeps a truncation from killing us.
//!
//! Whoever truncates a file that is mapped turns our next load from it into SIGBUS. The handler
//! installed here looks the address up among the mapped windows: inside of one, it puts zero pages
//! in place of the rest of the window and marks it as faulted, so the load goes on and its result
//! is thrown away; anywhere else, the action that was there before decides.
//!
//! This is the crate's only unsafe code.
#![expect(unsafe_code, reason = "mapping a file and handling its SIGBUS cannot be said safely")]

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous, munmap};

/// What became of a window.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Window {
    /// Every byte came from the file.
    Whole,
    /// Some did not: the file had been truncated, or its disk failed.
    Faulted,
}

/// Maps `length` bytes of a file from `offset` on, which is a multiple of the page size, and gives
/// them to `hash`. What it made of them is worth nothing unless the answer is [`Window::Whole`].
pub(super) fn with_window(
    file: BorrowedFd<'_>,
    offset: u64,
    length: u64,
    hash: impl FnOnce(&[u8]),
) -> io::Result<Window> {
    let too_large = |_| io::Error::from(io::ErrorKind::FileTooLarge);
    let length = usize::try_from(length).map_err(too_large)?;
    let mapping = Mapping::new(file, offset, length)?;
    let guarded = Guarded::new(&mapping).ok_or(io::ErrorKind::ResourceBusy)?;
    // SAFETY: the range is mapped readable until `mapping` is dropped, and every load from it is
    // answered: by the file, or by the pages that the handler puts there. Others may write to the
    // file meanwhile, so the bytes may change between two loads. `hash` only feeds them to BLAKE3,
    // whose control flow does not depend on them, and the frame around the read throws the result
    // away when the file changed.
    let bytes = unsafe { std::slice::from_raw_parts(mapping.start.as_ptr().cast::<u8>(), length) };
    hash(bytes);
    Ok(if guarded.faulted() { Window::Faulted } else { Window::Whole })
}

/// A mapped range, unmapped when dropped.
struct Mapping {
    start: NonNull<c_void>,
    /// Whole pages.
    length: usize,
}

impl Mapping {
    fn new(file: BorrowedFd<'_>, offset: u64, length: usize) -> io::Result<Self> {
        let length = length.next_multiple_of(rustix::param::page_size());
        // SAFETY: the kernel chooses the address, so nothing of ours is replaced.
        let start = unsafe {
            mmap(ptr::null_mut(), length, ProtFlags::READ, MapFlags::SHARED, file, offset)?
        };
        let start = NonNull::new(start).expect("the kernel never chooses address 0");
        let mapping = Self { start, length };
        // SAFETY: the range is ours and advice changes no content. It is a hint: whether the kernel
        // takes it does not matter.
        let _ = unsafe { madvise(start.as_ptr(), length, Advice::WillNeed) };
        Ok(mapping)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `new`, or replaced in place by the handler; the slice over
        // it has ended, since it borrowed from a function that drops this last.
        let unmapped = unsafe { munmap(self.start.as_ptr(), self.length) };
        debug_assert!(unmapped.is_ok(), "unmapping what was mapped cannot fail");
    }
}

/// How many windows may be mapped at once in a process.
const SLOTS: usize = 16;

/// What the handler may look at: plain atomics in a fixed place.
static GUARDED: [Slot; SLOTS] = [const { Slot::new() }; SLOTS];

/// One mapped window. Written by the thread that maps; read by the handler, in any thread that
/// hashes a part of it.
struct Slot {
    taken: AtomicBool,
    start: AtomicUsize,
    /// 0 while the slot is free or being filled. Stored after `start` and cleared before it is used
    /// again, so a reader who sees an end sees the start that belongs to it.
    end: AtomicUsize,
    /// Set by the handler.
    faulted: AtomicBool,
}

impl Slot {
    const fn new() -> Self {
        Self {
            taken: AtomicBool::new(false),
            start: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            faulted: AtomicBool::new(false),
        }
    }

    fn contains(&self, address: usize) -> bool {
        let end = self.end.load(Ordering::Acquire);
        address < end && self.start.load(Ordering::Relaxed) <= address
    }
}

/// A mapping that the handler knows of, until dropped.
struct Guarded(&'static Slot);

impl Guarded {
    /// `None` when every slot is taken.
    fn new(mapping: &Mapping) -> Option<Self> {
        let slot = GUARDED.iter().find(|slot| !slot.taken.swap(true, Ordering::Acquire))?;
        let start = mapping.start.as_ptr().addr();
        slot.faulted.store(false, Ordering::Relaxed);
        slot.start.store(start, Ordering::Relaxed);
        slot.end.store(start + mapping.length, Ordering::Release);
        Some(Self(slot))
    }

    /// Whoever hashed has been waited for, so a fault of theirs happened before.
    fn faulted(&self) -> bool {
        self.0.faulted.load(Ordering::Acquire)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.0.end.store(0, Ordering::Release);
        self.0.taken.store(false, Ordering::Release);
    }
}

/// The action that was there before ours; null until it is known.
static PREVIOUS: AtomicPtr<libc::sigaction> = AtomicPtr::new(ptr::null_mut());

/// Installs the handler, once per process however often it is called.
pub(super) fn install_guard() -> io::Result<()> {
    static INSTALLED: OnceLock<Result<(), i32>> = OnceLock::new();
    INSTALLED
        .get_or_init(|| install().map_err(|error| error.raw_os_error().unwrap_or(0)))
        .map_err(io::Error::from_raw_os_error)
}

fn install() -> io::Result<()> {
    // SAFETY: all zeroes is a valid `sigaction`: no flags, an empty mask, the default action.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    let mut previous: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_sigbus as *const () as usize;
    // On the alternate stack, where there is one: the fault may come on a nearly full stack.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: both point to valid actions, and the handler does only what a handler may.
    if unsafe { libc::sigaction(libc::SIGBUS, &raw const action, &raw mut previous) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // Never freed: the handler may need it as long as the process lives.
    PREVIOUS.store(Box::into_raw(Box::new(previous)), Ordering::Release);
    Ok(())
}

/// Runs in the thread that faulted, at the load that faulted. It allocates nothing, locks nothing
/// and leaves `errno` alone where it handles a fault: such a load is in BLAKE3's loops, where no
/// `errno` is waiting to be read.
extern "C" fn on_sigbus(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes a valid description.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr().addr()) };
    // Positive: raised by a fault. Otherwise by a process, and then the address means nothing.
    let fault = code > 0;
    if fault && replace_pages(address) {
        return;
    }
    pass_on(fault, signal, info, context);
}

/// Puts zero pages from the faulting one to the window's end. False when the address lies in no
/// window, or there is no memory for page tables.
fn replace_pages(address: usize) -> bool {
    let Some(slot) = GUARDED.iter().find(|slot| slot.contains(address)) else { return false };
    slot.faulted.store(true, Ordering::Release);
    let page = address & !(rustix::param::page_size() - 1);
    let length = slot.end.load(Ordering::Acquire) - page;
    let at = ptr::with_exposed_provenance_mut(page);
    // SAFETY: the range lies within a window, which stays mapped while a thread loads from it, as
    // this one does. Two threads that fault at once replace the same pages by equal ones.
    unsafe {
        mmap_anonymous(at, length, ProtFlags::READ, MapFlags::PRIVATE | MapFlags::FIXED).is_ok()
    }
}

/// Does what would have been done without us.
fn pass_on(fault: bool, signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let previous = PREVIOUS.load(Ordering::Acquire);
    // SAFETY: it points to nothing, or to an action that is never freed or written again.
    let action = unsafe { previous.as_ref() };
    let handler = action.map_or(libc::SIG_DFL, |action| action.sa_sigaction);
    match (handler, action) {
        (libc::SIG_IGN, _) if !fault => {}
        // A fault cannot be ignored: the load would fault again at once.
        (libc::SIG_DFL | libc::SIG_IGN, _) | (_, None) => die_of(signal),
        (_, Some(action)) if action.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: installed with SA_SIGINFO, so it is a function of these three.
            let handler = unsafe {
                std::mem::transmute::<usize, extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void)>(
                    handler,
                )
            };
            handler(signal, info, context);
        }
        (_, Some(_)) => {
            // SAFETY: installed without SA_SIGINFO, so it is a function of the number alone.
            let handler = unsafe { std::mem::transmute::<usize, extern "C" fn(c_int)>(handler) };
            handler(signal);
        }
    }
}

/// The default action: the signal comes again, and nothing handles it.
fn die_of(signal: c_int) {
    // SAFETY: resetting an action and raising a signal are allowed in a handler. The signal is
    // blocked here and comes when the handler returns.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::os::unix::process::ExitStatusExt;

    use rayon::prelude::*;

    use super::*;

    const LENGTH: u64 = 8 << 20;

    fn scratch() -> File {
        let file = tempfile::tempfile().expect("scratch file");
        file.set_len(LENGTH).expect("extends");
        file
    }

    /// Loads one byte of every page, by many threads.
    fn touch(bytes: &[u8]) -> u64 {
        bytes.par_chunks(4096).map(|page| u64::from(page[0])).sum()
    }

    #[test]
    fn a_truncation_under_many_threads_faults_the_window_and_nothing_else() {
        install_guard().expect("installs");
        for round in 0..200_u64 {
            let file = scratch();
            let cut_and_load = |bytes: &[u8]| {
                file.set_len(round * 4096).expect("truncates");
                touch(bytes);
            };
            let window = with_window(file.as_fd(), 0, LENGTH, cut_and_load).expect("maps");
            assert_eq!(window, Window::Faulted, "round {round}");
            // The slot is used again, and what it remembered is not.
            let file = scratch();
            let window = with_window(file.as_fd(), 4096, LENGTH - 4096, |bytes| {
                assert_eq!(bytes.len() as u64, LENGTH - 4096);
                touch(bytes);
            });
            assert_eq!(window.expect("maps"), Window::Whole, "round {round}");
        }
    }

    #[test]
    fn a_window_beyond_the_end_faults() {
        install_guard().expect("installs");
        let window = with_window(scratch().as_fd(), LENGTH, 4096, |bytes| {
            touch(bytes);
        });
        assert_eq!(window.expect("maps"), Window::Faulted);
    }

    /// A fault that is none of ours must end the process, as it would without us.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "tells the child from the parent")]
    fn a_fault_outside_every_window_ends_the_process() {
        const CHILD: &str = "STAMPD_TEST_FAULT_OUTSIDE";
        if std::env::var_os(CHILD).is_some() {
            install_guard().expect("installs");
            let file = scratch();
            let unguarded = Mapping::new(file.as_fd(), 0, 4096).expect("maps");
            file.set_len(0).expect("truncates");
            // SAFETY: mapped and aligned; that the load faults is what is tested.
            let byte = unsafe { unguarded.start.cast::<u8>().read_volatile() };
            panic!("loaded {byte} from nothing");
        }
        let test = "hash::mapped::tests::a_fault_outside_every_window_ends_the_process";
        let output = std::process::Command::new("/proc/self/exe")
            .args(["--exact", test])
            .env(CHILD, "1")
            .output()
            .expect("starts");
        assert_eq!(output.status.signal(), Some(libc::SIGBUS), "{output:?}");
    }
}
