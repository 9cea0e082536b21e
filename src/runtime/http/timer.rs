//! The clock over a request's head, for one connection.
//!
//! Every head has a deadline, and nearly none is ever reached. To enter each into the runtime's timer and to
//! take it out again costs more than to hash a small content, so one alarm stays there for as long as the
//! connection lives: when it goes off too early for the deadline of the moment, it is set again.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};

type Alarm = Pin<Box<tokio::time::Sleep>>;

/// Makes the deadlines of one connection's heads.
#[derive(Clone, Debug, Default)]
pub(super) struct HeadTimer {
    /// The alarm, between two deadlines.
    idle: Arc<Mutex<Option<Alarm>>>,
}

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut alarm = idle.unwrap_or_else(|| Box::pin(tokio::time::sleep_until(deadline.into())));
        if alarm.deadline() > deadline.into() {
            alarm.as_mut().reset(deadline.into());
        }
        Box::pin(Deadline { at: deadline, alarm: Some(alarm), home: self.clone() })
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into()
    }
}

/// One head's; gives the alarm back.
#[derive(Debug)]
struct Deadline {
    at: Instant,
    /// Taken when this is dropped.
    alarm: Option<Alarm>,
    home: HeadTimer,
}

impl Future for Deadline {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let at = self.at.into();
        let Some(alarm) = &mut self.alarm else { return Poll::Ready(()) };
        ready!(alarm.as_mut().poll(context));
        if alarm.deadline() < at {
            alarm.as_mut().reset(at);
            return alarm.as_mut().poll(context);
        }
        Poll::Ready(())
    }
}

impl Sleep for Deadline {}

impl Drop for Deadline {
    fn drop(&mut self) {
        *self.home.idle.lock().unwrap_or_else(PoisonError::into_inner) = self.alarm.take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_holds_whatever_the_alarm_was_set_to_before() {
        let timer = HeadTimer::default();
        let begin = timer.now();
        let after = |ms| Duration::from_millis(ms);
        timer.sleep(after(50)).await;
        assert_eq!(timer.now() - begin, after(50));
        // The alarm is due in 10 ms, and is left there.
        drop(timer.sleep(after(10)));
        timer.sleep(after(40)).await;
        assert_eq!(timer.now() - begin, after(90));
        // It is due in 40 ms, and must come sooner.
        drop(timer.sleep(after(40)));
        timer.sleep(after(20)).await;
        assert_eq!(timer.now() - begin, after(110));
        // Long past.
        tokio::time::sleep(after(500)).await;
        timer.sleep(after(30)).await;
        assert_eq!(timer.now() - begin, after(640));
    }
}
