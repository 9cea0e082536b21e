//! The roster: which repos are tracked now, and whether they are paused.
//!
//! One thread, the [`Keeper`], changes it: it starts a tracker for each repo, ends it, and pauses and
//! resumes all. Everybody else looks at it through a [`Roster`]. What the config file says is not the
//! keeper's to change: whoever asks for a repo to be added has written it there.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, after, bounded, never, select};
use tokio::sync::oneshot;

use super::pause;
use super::tracker::{Command, Mailbox, Parts, Tracker};
use super::view::View;
use super::{AgentError, user};
use crate::control::{Refusal, Reply};
use crate::hash::{self, Hasher};
use crate::model::repo_config::RepoConfig;
use crate::model::status::Pause;
use crate::repo::trust::Store;
use crate::runtime::clock::Clock;
use crate::runtime::supervisor::{Nursery, Supervisor};
use crate::spool::{RepoId, RepoSpec, Spool};
use crate::watch;

/// Orders that may wait for the keeper; a further one is refused.
const ORDERS_MAX: usize = 16;

/// How often the end of a pause is looked for: it is a time of day, and timers stand still while a
/// laptop sleeps.
const PAUSE_CHECK_EVERY: Duration = Duration::from_secs(30);

/// A repo as the rest of the agent knows it.
#[derive(Clone)]
pub(super) struct Tracked {
    pub(super) config: RepoConfig,
    pub(super) repo: RepoId,
    pub(super) mailbox: Mailbox,
    pub(super) view: View,
}

/// Who is tracked now. Clones look at the same roster.
#[derive(Clone, Default)]
pub(super) struct Roster(Arc<Mutex<Shown>>);

#[derive(Default)]
struct Shown {
    tracked: Vec<Tracked>,
    paused: Option<Pause>,
}

impl Roster {
    /// The repos, in the order in which they came.
    pub(super) fn tracked(&self) -> Vec<Tracked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).tracked.clone()
    }

    /// The pause, while there is one.
    pub(super) fn paused(&self) -> Option<Pause> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).paused
    }

    fn show(&self, shown: Shown) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = shown;
    }
}

/// What is asked of the keeper.
pub(super) enum Order {
    Add(RepoConfig),
    Remove(String),
    Pause(Option<Duration>),
    Resume,
}

/// The way to the keeper.
#[derive(Clone)]
pub(super) struct Orders(Sender<(Order, oneshot::Sender<Reply>)>);

impl Orders {
    /// Gives an order, whose outcome comes as a reply.
    pub(super) fn give(&self, order: Order, reply: oneshot::Sender<Reply>) {
        if let Err(refused) = self.0.try_send((order, reply)) {
            let (_, reply) = refused.into_inner();
            let reason = "the agent is busy or stopping: try again";
            // Whoever hung up meanwhile needs no answer.
            let _ = reply.send(Reply::refused(Refusal::Unavailable, reason));
        }
    }
}

/// What every tracker is made of.
pub(super) struct Common {
    pub(super) watch: watch::Config,
    pub(super) hash: hash::Config,
    pub(super) hasher: Hasher,
    /// With the repos that are to be tracked.
    pub(super) agent: super::Config,
    pub(super) spool: Spool,
    pub(super) clock: Clock,
}

/// A tracker at work.
struct Member {
    tracked: Tracked,
    /// The paths that it leaves out.
    left_out: Vec<PathBuf>,
    /// Disconnected once its thread has ended.
    ended: Receiver<Infallible>,
}

/// The thread that changes the roster.
pub(super) struct Keeper {
    common: Common,
    nursery: Nursery,
    roster: Roster,
    members: Vec<Member>,
    paused: Option<Pause>,
}

/// Starts a tracker for each of `repos`, and the keeper that goes on from there.
pub(super) fn start(
    common: Common,
    repos: &[RepoConfig],
    supervisor: &mut Supervisor,
) -> Result<(Roster, Orders), AgentError> {
    let paused = pause::load(&common.agent.state_dir)?;
    let (orders, given) = bounded(ORDERS_MAX);
    let mut keeper = Keeper {
        common,
        nursery: supervisor.nursery(),
        roster: Roster::default(),
        members: Vec::new(),
        paused,
    };
    keeper.end_pause_when_due()?;
    let outcome = keeper.bring_to(repos);
    let roster = keeper.roster.clone();
    // Also when a tracker could not start: those that did are to be stopped in order.
    let stop = stop_with(supervisor);
    supervisor.spawn_thread("repos", move || keeper.run(&given, &stop))?;
    outcome.map(|()| (roster, Orders(orders)))
}

/// The keeper is a plain thread: this is how it hears of the stop, as a disconnected channel.
fn stop_with(supervisor: &mut Supervisor) -> Receiver<Infallible> {
    let (sender, stop) = bounded(0);
    let token = supervisor.token();
    supervisor.spawn("stop of repos", async move {
        token.cancelled().await;
        drop(sender);
        Ok::<_, Infallible>(())
    });
    stop
}

impl Keeper {
    fn run(
        mut self,
        given: &Receiver<(Order, oneshot::Sender<Reply>)>,
        stop: &Receiver<Infallible>,
    ) -> Result<(), AgentError> {
        loop {
            let check = match self.paused.and_then(|pause| pause.until) {
                Some(until) => after(until.since(self.common.clock.now()).min(PAUSE_CHECK_EVERY)),
                None => never(),
            };
            select! {
                recv(stop) -> _ => break,
                recv(check) -> _ => self.end_pause_when_due()?,
                recv(given) -> order => match order {
                    Ok((order, reply)) => self.obey(order, reply),
                    Err(_) => break,
                },
            }
        }
        self.members.iter().for_each(Member::stop);
        Ok(())
    }

    fn obey(&mut self, order: Order, reply: oneshot::Sender<Reply>) {
        let outcome = match order {
            Order::Add(repo) => self.add(repo),
            Order::Remove(name) => self.remove(&name),
            Order::Pause(span) => self.pause(span),
            Order::Resume => self.resume(),
        };
        // Whoever hung up meanwhile needs no answer.
        let _ = reply.send(outcome.err().unwrap_or(Reply::Done));
    }

    fn add(&mut self, repo: RepoConfig) -> Result<(), Reply> {
        let mut wanted = self.configs();
        if wanted.contains(&repo) {
            return Ok(());
        }
        let clash = wanted.iter().find(|old| old.name == repo.name || old.path == repo.path);
        if let Some(old) = clash {
            let place = old.path.display();
            let reason = format!("the repo {:?} at {place} is watched already", old.name);
            return Err(Reply::refused(Refusal::Wrong, reason));
        }
        wanted.push(repo);
        self.bring_to(&wanted).map_err(unfinished)
    }

    fn remove(&mut self, name: &str) -> Result<(), Reply> {
        let mut wanted = self.configs();
        let before = wanted.len();
        wanted.retain(|repo| repo.name != name);
        if wanted.len() == before {
            let reason = format!("there is no repo {name:?}; `stampd list` lists them");
            return Err(Reply::refused(Refusal::NotFound, reason));
        }
        self.bring_to(&wanted).map_err(unfinished)
    }

    fn configs(&self) -> Vec<RepoConfig> {
        self.members.iter().map(|member| member.tracked.config.clone()).collect()
    }

    /// Ends and starts trackers until these repos are tracked and no others. One that goes on as it
    /// was is left alone; one that has to leave out other paths than before starts anew.
    fn bring_to(&mut self, wanted: &[RepoConfig]) -> Result<(), AgentError> {
        self.common.agent.repos = wanted.to_vec();
        let left_out = |repo| (repo, self.common.agent.left_out(repo));
        let mut plan: Vec<_> = wanted.iter().map(left_out).collect();
        let goes_on = |member: &Member| {
            plan.iter().any(|(repo, left_out)| {
                **repo == member.tracked.config && *left_out == member.left_out
            })
        };
        let (kept, ending): (Vec<_>, Vec<_>) = self.members.drain(..).partition(goes_on);
        self.members = kept;
        ending.iter().for_each(Member::stop);
        ending.iter().for_each(Member::wait);
        plan.retain(|(repo, _)| !self.members.iter().any(|kept| kept.tracked.config == **repo));
        let started = plan.into_iter().try_for_each(|(repo, left_out)| self.track(repo, left_out));
        self.show();
        started
    }

    fn track(
        &mut self,
        repo_config: &RepoConfig,
        left_out: Vec<PathBuf>,
    ) -> Result<(), AgentError> {
        let common = &self.common;
        let spec = RepoSpec {
            name: repo_config.name.clone(),
            root: repo_config.path.clone(),
            namespace: repo_config.namespace.clone(),
            labels: BTreeMap::new(),
            git: None,
        };
        let repo = common.spool.open_repo(spec)?;
        let (id, view) = (repo.id(), View::default());
        let (tracker, mailbox) = Tracker::new(Parts {
            config: repo_config.clone(),
            user: user(repo_config, &left_out, &common.watch, common.hash.max_file_size),
            watch: common.watch.clone(),
            reader: common.spool.reader()?,
            repo,
            hasher: common.hasher.clone(),
            clock: common.clock.clone(),
            view: view.clone(),
            trust: Store::new(&common.agent.state_dir),
            left_out: left_out.clone(),
            paused: self.paused.is_some(),
            stop: Arc::new(AtomicBool::new(false)),
            #[cfg(test)]
            on_watch: None,
        });
        let (ending, ended) = bounded(0);
        self.nursery.spawn_thread(&format!("repo {}", repo_config.name), move || {
            let _ending: Sender<Infallible> = ending;
            tracker.run()
        })?;
        let tracked = Tracked { config: repo_config.clone(), repo: id, mailbox, view };
        self.members.push(Member { tracked, left_out, ended });
        Ok(())
    }

    fn pause(&mut self, span: Option<Duration>) -> Result<(), Reply> {
        let since = self.common.clock.now();
        let pause = Pause { since, until: span.map(|span| since.after(span)) };
        pause::save(&self.common.agent.state_dir, &pause).map_err(unfinished)?;
        self.paused = Some(pause);
        self.tell_all(|| Command::Pause)
    }

    fn resume(&mut self) -> Result<(), Reply> {
        pause::clear(&self.common.agent.state_dir).map_err(unfinished)?;
        self.paused = None;
        self.tell_all(|| Command::Resume)
    }

    fn end_pause_when_due(&mut self) -> Result<(), AgentError> {
        let now = self.common.clock.now();
        if self.paused.and_then(|pause| pause.until).is_some_and(|until| until <= now) {
            pause::clear(&self.common.agent.state_dir)?;
            self.paused = None;
            // One that is too busy to be told has not even paused yet.
            drop(self.tell_all(|| Command::Resume));
        }
        Ok(())
    }

    fn tell_all(&self, command: impl Fn() -> Command) -> Result<(), Reply> {
        self.show();
        let told = self.members.iter().all(|member| member.tracked.mailbox.send(command()));
        let busy = || Reply::Unfinished { reason: "the agent is busy; try again".to_owned() };
        if told { Ok(()) } else { Err(busy()) }
    }

    fn show(&self) {
        let tracked = self.members.iter().map(|member| member.tracked.clone()).collect();
        self.roster.show(Shown { tracked, paused: self.paused });
    }
}

impl Member {
    fn stop(&self) {
        // A tracker whose mailbox is full stops when the last holder of the mailbox goes.
        self.tracked.mailbox.send(Command::Stop);
    }

    fn wait(&self) {
        // Nothing is ever sent: the error is the end.
        let _ = self.ended.recv();
    }
}

fn unfinished(error: impl std::error::Error) -> Reply {
    Reply::Unfinished { reason: format!("failed to {error}") }
}
