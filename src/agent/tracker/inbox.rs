//! How a tracker is spoken to: a wake-up from the watch, and commands from the agent.

use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded, never};

use super::Waiter;
use super::lane::Finished;

/// Commands that may wait in the inbox; a sender beyond that is told that the tracker is busy.
const COMMANDS_MAX: usize = 64;

/// What the agent asks of a tracker.
pub(in crate::agent) enum Command {
    /// Compare everything with the disk and answer when the differences are durable.
    Scan(Waiter),
    /// Read the repo's own config and its trust again.
    Reload,
    /// Look at nothing.
    Pause,
    /// Look again, at everything.
    Resume,
    /// Stop.
    Stop,
}

/// The agent's end.
#[derive(Clone)]
pub(in crate::agent) struct Mailbox {
    commands: Sender<Command>,
}

impl Mailbox {
    /// Sends a command. `false` when the tracker has ended or has more commands than it can take.
    pub(in crate::agent) fn send(&self, command: Command) -> bool {
        self.commands.try_send(command).is_ok()
    }
}

/// The tracker's end.
pub(super) struct Inbox {
    /// Holds at most one wake-up: hints wait in the watch, this only says that there are some.
    wake: Receiver<()>,
    waker: Sender<()>,
    commands: Receiver<Command>,
}

/// Makes both ends.
pub(super) fn pair() -> (Inbox, Mailbox) {
    let (waker, wake) = bounded(1);
    let (sender, commands) = bounded(COMMANDS_MAX);
    (Inbox { wake, waker, commands }, Mailbox { commands: sender })
}

impl Inbox {
    /// What the watch calls when its hints are no longer none.
    pub(super) fn waker(&self) -> Box<dyn Fn() + Send + Sync> {
        let waker = self.waker.clone();
        // A full channel already holds the wake-up.
        Box::new(move || {
            let _ = waker.try_send(());
        })
    }

    /// The next command, if one is waiting. A mailbox that nobody holds any more means stop.
    pub(super) fn try_command(&self) -> Option<Command> {
        match self.commands.try_recv() {
            Ok(command) => Some(command),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Command::Stop),
        }
    }

    /// Sleeps until something is to be done. What arrives is left to be taken, but for the wake-up.
    pub(super) fn wait(&self, lane: &Receiver<Finished>, deadline: Option<Instant>) {
        let timeout = deadline.map_or_else(never, crossbeam_channel::at);
        let mut ready = crossbeam_channel::Select::new();
        ready.recv(&self.commands);
        ready.recv(lane);
        let wake = ready.recv(&self.wake);
        ready.recv(&timeout);
        if ready.ready() == wake {
            let _ = self.wake.try_recv();
        }
    }
}
