//! Reach: the state of the road to one sink, and what to do about it now.
//!
//! Pure: time and randomness come in, steps come out. It is the circuit breaker as well: a second
//! one on top would only double the delays.
//!
//! What bounds the first delivery after an outage (see docs/adr/0060): while stamps wait and the
//! failing rung is one that a plain connection can test, the road is knocked at every few seconds,
//! whatever the backoff of the full ladder has grown to.

use std::time::{Duration, Instant};

use super::backoff::Backoff;
use crate::model::class::Class;
use crate::model::rung::{Height, Rung};
use crate::model::status::ReachState;

/// A change of the network comes in several events; the first alone would be acted on too early.
const NETWORK_SETTLE: Duration = Duration::from_millis(250);

/// How patient to be.
#[derive(Clone, Debug)]
pub struct Config {
    /// The ceiling of the first wait after a failure.
    pub backoff_first: Duration,
    /// The ceiling of the last.
    pub backoff_max: Duration,
    /// The ceiling of the first wait when a person is needed; it doubles up to `backoff_max`, so
    /// that a road just repaired is found soon and a forgotten one costs nothing.
    pub parked_first: Duration,
    /// How often a closed road is knocked at while stamps wait.
    pub knock_every: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            backoff_first: Duration::from_secs(1),
            backoff_max: Duration::from_mins(5),
            parked_first: Duration::from_secs(5),
            knock_every: Duration::from_secs(4),
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The network changed, or the machine woke up.
    Network,
    /// A person asked.
    Nudge,
    /// Stamps wait now, or none do.
    Queued(bool),
    /// The lower rungs hold, when they were tried alone.
    Knocked,
    /// The whole ladder is being climbed now.
    Climbing,
    /// The whole ladder holds.
    Climbed,
    /// A rung failed.
    Fell(Rung),
    /// A batch was delivered.
    Delivered,
    /// The client object was let go of, since nothing was to be delivered for a while.
    Rested,
    /// A delivery failed in a way that says something of the road.
    Failed {
        /// [`Class::Park`] parks; any other class counts as a failure that may pass.
        class: Class,
        /// The text a person reads.
        text: String,
    },
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing before this time, or before something happens.
    Rest(Option<Instant>),
    /// Try the lower rungs alone: route, DNS, TCP, TLS.
    Knock,
    /// Climb the whole ladder.
    Climb,
    /// Deliver, as much as a batch may hold.
    Deliver,
    /// Deliver one small batch.
    DeliverSmall,
}

/// The machine.
#[derive(Clone, Debug)]
pub struct Reach {
    config: Config,
    road: Road,
    queued: bool,
    reason: Option<String>,
    backoff: Backoff,
    parked: Backoff,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Road {
    /// No road. `knock` is set when the failing rung is one that a plain connection can test.
    Offline { due: Instant, knock: Option<Instant> },
    /// The ladder is to be climbed at once.
    Probing,
    /// The ladder holds; nothing was delivered yet.
    HalfOpen,
    /// Delivering. With `doubt` the ladder is climbed before the next delivery: the network changed
    /// since the last, and a connection that died in silence would cost a whole timeout.
    Online { doubt: bool },
    /// The last delivery failed; the ladder is climbed again when it is due.
    Degraded { due: Instant },
    /// A person is needed; looked at again when it is due.
    Parked { due: Instant },
}

impl Reach {
    /// A road nobody has been on yet: probed at once.
    pub const fn new(config: Config) -> Self {
        let backoff = Backoff::new(config.backoff_first, config.backoff_max);
        let parked = Backoff::new(config.parked_first, config.backoff_max);
        Self { config, road: Road::Probing, queued: false, reason: None, backoff, parked }
    }

    /// The state as it is shown.
    pub const fn state(&self) -> ReachState {
        match self.road {
            Road::Offline { .. } => ReachState::Offline,
            Road::Probing => ReachState::Probing,
            Road::HalfOpen => ReachState::HalfOpen,
            Road::Online { .. } => ReachState::Online,
            Road::Degraded { .. } => ReachState::Degraded,
            Road::Parked { .. } => ReachState::Parked,
        }
    }

    /// Why it is not online, as the text a person reads.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Whether the sink may hold a client object now.
    pub const fn is_open(&self) -> bool {
        matches!(self.road, Road::HalfOpen | Road::Online { .. } | Road::Degraded { .. })
    }

    /// Whether the road was open the last time it was tried, and nothing has happened since.
    pub const fn is_fresh(&self) -> bool {
        matches!(self.road, Road::HalfOpen | Road::Online { doubt: false })
    }

    /// What to do now.
    pub fn step(&self, now: Instant) -> Step {
        match self.road {
            Road::HalfOpen | Road::Online { .. } if !self.queued => Step::Rest(None),
            Road::Probing | Road::Online { doubt: true } => Step::Climb,
            Road::Offline { due, .. } | Road::Degraded { due } | Road::Parked { due }
                if due <= now =>
            {
                Step::Climb
            }
            Road::Offline { due, knock: Some(knock) } if self.queued => {
                if knock <= now {
                    Step::Knock
                } else {
                    Step::Rest(Some(due.min(knock)))
                }
            }
            Road::Offline { due, .. } | Road::Degraded { due } | Road::Parked { due } => {
                Step::Rest(Some(due))
            }
            Road::HalfOpen => Step::DeliverSmall,
            Road::Online { doubt: false } => Step::Deliver,
        }
    }

    /// Takes note of something that happened at `now`; `random` is drawn evenly from all of `u32`.
    pub fn on(&mut self, input: Input, now: Instant, random: u32) {
        match input {
            Input::Network => self.on_network(now),
            Input::Nudge => self.on_nudge(now),
            Input::Queued(queued) => self.on_queued(queued, now),
            Input::Knocked => self.on_knocked(),
            Input::Climbing => self.on_climbing(),
            Input::Climbed => self.on_climbed(),
            Input::Fell(rung) => self.on_fell(rung, now, random),
            Input::Delivered => self.on_delivered(),
            Input::Rested => self.on_rested(),
            Input::Failed { class, text } => self.on_failed(class, text, now, random),
        }
    }

    fn on_network(&mut self, now: Instant) {
        match &mut self.road {
            Road::Offline { due, .. } | Road::Degraded { due } => {
                *due = (now + NETWORK_SETTLE).min(*due);
            }
            Road::Online { doubt } => *doubt = true,
            // No network event mends what a person must.
            Road::Probing | Road::HalfOpen | Road::Parked { .. } => return,
        }
        self.backoff.reset();
    }

    fn on_rested(&mut self) {
        if let Road::Online { doubt } = &mut self.road {
            *doubt = true;
        }
    }

    fn on_nudge(&mut self, now: Instant) {
        match &mut self.road {
            Road::Offline { due, .. } | Road::Degraded { due } | Road::Parked { due } => *due = now,
            Road::Probing | Road::HalfOpen | Road::Online { .. } => {}
        }
    }

    fn on_queued(&mut self, queued: bool, now: Instant) {
        let begins = queued && !self.queued;
        self.queued = queued;
        if let Road::Offline { due, .. } = &mut self.road
            && begins
        {
            // With nothing to deliver the waits may have grown long; now there is a reason to look.
            self.backoff.reset();
            *due = now;
        }
    }

    fn on_knocked(&mut self) {
        // What failed holds again: the rungs above it deserve a fresh start.
        self.backoff.reset();
        self.road = Road::Probing;
    }

    fn on_climbing(&mut self) {
        // Whoever needs a person, or delivers with errors, is shown as that until it is disproved.
        if let Road::Offline { .. } = self.road {
            self.road = Road::Probing;
        }
    }

    fn on_climbed(&mut self) {
        // What made deliveries fail is not disproved before one succeeds.
        if !self.queued || !matches!(self.road, Road::Degraded { .. }) {
            self.reason = None;
        }
        let was_online = matches!(self.road, Road::Online { .. });
        self.road =
            if was_online || !self.queued { Road::Online { doubt: false } } else { Road::HalfOpen };
    }

    fn on_fell(&mut self, rung: Rung, now: Instant, random: u32) {
        self.reason = Some(rung.text);
        if rung.class == Class::Park {
            self.park(now, random);
            return;
        }
        let knock = (rung.height <= Height::Tcp).then(|| now + self.config.knock_every);
        self.road = match self.road {
            // A knock failed, which says nothing new: the whole ladder is still due when it was.
            Road::Offline { due, .. } => Road::Offline { due, knock },
            Road::Probing
            | Road::HalfOpen
            | Road::Online { .. }
            | Road::Degraded { .. }
            | Road::Parked { .. } => Road::Offline { due: now + self.backoff.next(random), knock },
        };
    }

    fn on_delivered(&mut self) {
        self.road = Road::Online { doubt: false };
        self.reason = None;
        self.backoff.reset();
        self.parked.reset();
    }

    fn on_failed(&mut self, class: Class, text: String, now: Instant, random: u32) {
        self.reason = Some(text);
        if class == Class::Park {
            self.park(now, random);
        } else {
            self.road = Road::Degraded { due: now + self.backoff.next(random) };
        }
    }

    fn park(&mut self, now: Instant, random: u32) {
        self.road = Road::Parked { due: now + self.parked.next(random) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Half of the range, so that a wait is about half of its ceiling.
    const EVEN: u32 = u32::MAX / 2;

    fn fell(height: Height, class: Class) -> Input {
        Input::Fell(Rung { height, text: "down".into(), class })
    }

    fn failed(class: Class) -> Input {
        Input::Failed { class, text: "failed".into() }
    }

    fn after(inputs: impl IntoIterator<Item = Input>, now: Instant) -> Reach {
        let mut reach = Reach::new(Config::default());
        for input in inputs {
            reach.on(input, now, EVEN);
        }
        reach
    }

    /// A road that failed so often that its waits have grown to minutes.
    fn worn(height: Height, queued: bool) -> (Reach, Instant) {
        let mut now = Instant::now();
        let mut reach = after([Input::Queued(queued)], now);
        for _ in 0..9 {
            now += Duration::from_mins(5);
            reach.on(Input::Climbing, now, EVEN);
            reach.on(fell(height, Class::Retry), now, EVEN);
        }
        (reach, now)
    }

    #[test]
    fn every_input_leads_where_the_table_says() {
        use Input::{Climbed, Climbing, Delivered, Knocked, Network, Nudge, Queued};
        use ReachState::{Degraded, HalfOpen, Offline, Online, Parked, Probing};
        let now = Instant::now();
        let (retry, park) = (Class::Retry, Class::Park);
        let tcp = || fell(Height::Tcp, retry);
        let table: Vec<(Vec<Input>, ReachState)> = vec![
            (vec![], Probing),
            (vec![Climbed], Online),
            (vec![Queued(true), Climbed], HalfOpen),
            (vec![Queued(true), Climbed, Delivered], Online),
            (vec![Queued(true), Climbed, failed(retry)], Degraded),
            (vec![Queued(true), Climbed, failed(park)], Parked),
            (vec![Queued(true), Climbed, Delivered, failed(retry)], Degraded),
            (vec![Queued(true), Climbed, Delivered, failed(retry), Climbed], HalfOpen),
            (vec![Queued(true), Climbed, Delivered, failed(retry), Climbed, Delivered], Online),
            (vec![Queued(true), Climbed, Delivered, failed(retry), tcp()], Offline),
            (vec![Queued(true), Climbed, Delivered, Network], Online),
            (vec![Queued(true), Climbed, Delivered, Network, tcp()], Offline),
            (vec![Climbed, Input::Rested], Online),
            (vec![tcp(), Input::Rested], Offline),
            (vec![tcp()], Offline),
            (vec![tcp(), Network], Offline),
            (vec![tcp(), Knocked], Probing),
            (vec![tcp(), Climbing], Probing),
            (vec![tcp(), Climbing, tcp()], Offline),
            (vec![fell(Height::Identity, park), Climbing], Parked),
            (vec![tcp(), Knocked, Climbed], Online),
            (vec![fell(Height::Application, park)], Parked),
            (vec![fell(Height::Identity, park), Network], Parked),
            (vec![fell(Height::Identity, park), Nudge, Climbed], Online),
        ];
        for (inputs, state) in table {
            assert_eq!(after(inputs.clone(), now).state(), state, "after {inputs:?}");
        }
    }

    #[test]
    fn a_network_event_or_a_nudge_ends_a_long_rest() {
        for input in [Input::Network, Input::Nudge] {
            let (mut reach, now) = worn(Height::Application, true);
            assert!(matches!(reach.step(now), Step::Rest(Some(due)) if due > now));
            reach.on(input, now, EVEN);
            assert_eq!(reach.step(now + NETWORK_SETTLE), Step::Climb);
        }
    }

    #[test]
    fn a_closed_road_is_knocked_at_every_few_seconds_while_stamps_wait() {
        let every = Config::default().knock_every;
        let (mut reach, mut now) = worn(Height::Tcp, true);
        for _ in 0..5 {
            assert_eq!(reach.step(now), Step::Rest(Some(now + every)));
            now += every;
            assert_eq!(reach.step(now), Step::Knock);
            reach.on(fell(Height::Tcp, Class::Retry), now, EVEN);
        }
        reach.on(Input::Knocked, now, EVEN);
        assert_eq!(reach.step(now), Step::Climb);
    }

    #[test]
    fn nothing_knocks_when_nothing_waits_or_a_higher_rung_fails() {
        for (height, queued) in [(Height::Route, false), (Height::Application, true)] {
            let (reach, now) = worn(height, queued);
            let later = now + Config::default().knock_every;
            assert!(matches!(reach.step(later), Step::Rest(Some(due)) if due > later));
        }
    }

    #[test]
    fn the_first_stamp_that_waits_ends_a_long_rest() {
        let (mut reach, now) = worn(Height::Application, false);
        reach.on(Input::Queued(true), now, EVEN);
        assert_eq!(reach.step(now), Step::Climb);
        reach.on(Input::Climbing, now, EVEN);
        reach.on(fell(Height::Application, Class::Retry), now, EVEN);
        // Only the first one: a stream of stamps must not undo the backoff.
        reach.on(Input::Queued(true), now, EVEN);
        assert!(matches!(reach.step(now), Step::Rest(Some(due)) if due > now));
    }

    #[test]
    fn one_small_batch_goes_first_and_an_idle_road_rests_without_a_timer() {
        let now = Instant::now();
        let mut reach = after([Input::Queued(true), Input::Climbed], now);
        assert_eq!(reach.step(now), Step::DeliverSmall);
        reach.on(Input::Delivered, now, EVEN);
        assert_eq!(reach.step(now), Step::Deliver);
        reach.on(Input::Queued(false), now, EVEN);
        assert_eq!(reach.step(now), Step::Rest(None));
        reach.on(Input::Network, now, EVEN);
        assert_eq!(reach.step(now), Step::Rest(None), "doubt costs nothing while idle");
        reach.on(Input::Queued(true), now, EVEN);
        assert_eq!(reach.step(now), Step::Climb, "and is settled before the next delivery");
    }

    #[test]
    fn a_parked_road_is_looked_at_less_and_less_and_its_reason_stays() {
        let mut now = Instant::now();
        let mut reach = after([Input::Queued(true)], now);
        let mut waits = Vec::new();
        for _ in 0..8 {
            reach.on(fell(Height::Application, Class::Park), now, u32::MAX);
            let Step::Rest(Some(due)) = reach.step(now) else { panic!("a parked road rests") };
            waits.push((due - now).as_secs());
            now = due;
            assert_eq!((reach.step(now), reach.reason()), (Step::Climb, Some("down")));
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300]);
    }
}
