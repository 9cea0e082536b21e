//! Delivering a batch, and doing what the answer means.

use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::courier::{Courier, seconds, stopped_for};
use super::plan::{Span, Verdict};
use super::reach::Input;
use crate::model::batch::{Batch, Entry};
use crate::model::class::Class;
use crate::model::envelope::subject;
use crate::model::stream::StreamId;
use crate::sink::{Delivery, Sink, SinkError};
use crate::spool::{DeadLetter, SpoolError};

impl<S: Sink> Courier<S> {
    /// Delivers the next batch.
    pub(super) async fn deliver(
        &mut self,
        small: bool,
        stop: &CancellationToken,
    ) -> Result<(), SpoolError> {
        let Some(span) = self.plan.next(small) else { return Ok(()) };
        let mut batch = self.ahead.take(span).await?;
        if batch.entries.is_empty() {
            // The stream ends earlier than it did: it has gone on in another one.
            return self.load_heads();
        }
        let span = Span { to: batch.end(), ..span };
        self.read_on(span);
        self.withhold_dead(&mut batch);
        let patience = self.config.deliver_timeout;
        let outcome = tokio::select! {
            biased;
            outcome = timeout(patience, self.sink.deliver(&batch)) => outcome,
            // Dropping the delivery abandons the batch; it goes again after the next start.
            () = stopped_for(self.config.close_grace, stop) => return Ok(()),
        };
        match outcome.unwrap_or_else(|_| Err(silence(patience))) {
            Ok(delivery) => self.on_delivery(span, delivery).await,
            Err(error) => self.on_error(span, &batch, error).await,
        }
    }

    /// Starts to read what comes next if this goes well.
    fn read_on(&mut self, span: Span) {
        let mut hoped = self.plan.clone();
        hoped.delivered(span, span.to);
        if let Some(next) = hoped.next(false) {
            self.ahead.start(next);
        }
    }

    /// Of what was set aside only the leaf goes, also when the receiver was restored to an older
    /// state and everything goes again.
    fn withhold_dead(&self, batch: &mut Batch) {
        let Some(dead) = self.dead.get(&batch.stream) else { return };
        let since = self.clock.now();
        for &seq in dead.range(batch.first_seq..batch.end()) {
            let entry = &mut batch.entries[(seq - batch.first_seq) as usize];
            let (leaf, reason) = (*entry.leaf(), "refused".to_owned());
            *entry = Entry::Withheld { leaf, reason, since };
        }
    }

    async fn on_delivery(&mut self, span: Span, delivery: Delivery) -> Result<(), SpoolError> {
        let mut verdict = self.plan.delivered(span, delivery.size);
        if let Verdict::Fork(_) = verdict {
            // Another road may have had what was appended since the last look.
            self.load_heads()?;
            verdict = self.plan.delivered(span, delivery.size);
        }
        match verdict {
            Verdict::Confirm(size) => {
                self.note(Input::Delivered);
                self.confirm(span.stream, size).await
            }
            Verdict::Compare(size) => self.compare(span, size, delivery).await,
            Verdict::Fork(end) => {
                if self.plan.is_ended(span.stream) {
                    tracing::debug!(sink = self.inbox.name, "what is beyond the fork is not ours");
                } else {
                    self.fork(span.stream, end).await?;
                }
                // Up to the fork the receiver has it all.
                self.plan.move_to(span.stream, end);
                self.note(Input::Delivered);
                self.confirm(span.stream, end).await
            }
            Verdict::Stuck | Verdict::Smaller | Verdict::Poison(_) => {
                let text = format!(
                    "the receiver took stamps {} to {} of stream {} and holds no more than before",
                    span.from,
                    span.to - 1,
                    span.stream
                );
                self.note(Input::Failed { class: Class::Retry, text });
                Ok(())
            }
        }
    }

    /// The receiver holds another length of the stream than was thought. It is right, if its last
    /// leaf is ours.
    async fn compare(
        &mut self,
        span: Span,
        size: u64,
        delivery: Delivery,
    ) -> Result<(), SpoolError> {
        let (stream, sink) = (span.stream, self.inbox.name);
        let ours = match size.checked_sub(1) {
            Some(last) => self.reader.leaf(stream, last)?,
            None => None,
        };
        let agree = delivery.leaf.is_none() || size == 0 || delivery.leaf == ours;
        if !agree && size > span.to {
            return self.fork(stream, span.to).await;
        }
        // Where the receiver is behind and differs, sending everything again finds the first seq
        // that does.
        let size = if agree { size } else { 0 };
        tracing::info!(sink, %stream, size, thought = span.from, "the receiver knows better");
        self.plan.move_to(stream, size);
        self.note(Input::Delivered);
        self.confirm(stream, size).await
    }

    /// The receiver holds other stamps than we do from `seq` on: a copy of this spool went on
    /// without us. Ours go on in a new stream, and nothing waits for a person.
    async fn fork(&mut self, stream: StreamId, seq: u64) -> Result<(), SpoolError> {
        let sink = self.inbox.name;
        let new = self.spool.new_epoch(stream, seq).await?;
        tracing::error!(
            sink, %stream, seq, %new,
            "another copy of this spool wrote to the same stream; going on in a new one"
        );
        self.plan.end(stream);
        self.load_heads()
    }

    async fn on_error(
        &mut self,
        span: Span,
        batch: &Batch,
        error: SinkError,
    ) -> Result<(), SpoolError> {
        match error.class() {
            Class::Retry => self.fail(Class::Retry, &error),
            Class::Park => self.park(&error).await,
            Class::Fork => return self.fork(span.stream, error.seq.unwrap_or(span.from)).await,
            Class::RetrySmaller => {
                if self.plan.refused_as_too_much(span).is_none() {
                    self.fail(Class::Retry, &error);
                }
            }
            Class::Reject => {
                if let Verdict::Poison(seq) = self.plan.rejected(span, error.seq) {
                    return self.set_aside(batch, seq, error).await;
                }
            }
        }
        Ok(())
    }

    fn fail(&mut self, class: Class, error: &SinkError) {
        tracing::debug!(sink = self.inbox.name, code = error.code, %error, "delivery failed");
        self.note(Input::Failed { class, text: error.text.clone() });
    }

    async fn park(&mut self, error: &SinkError) {
        self.close().await;
        self.fail(Class::Park, error);
    }

    /// Sets the one stamp at fault aside: its leaf goes without its body, and only when the receiver
    /// has that does the cursor pass it.
    async fn set_aside(
        &mut self,
        batch: &Batch,
        seq: u64,
        error: SinkError,
    ) -> Result<(), SpoolError> {
        let (stream, sink) = (batch.stream, self.inbox.name);
        let entry = &batch.entries[(seq - batch.first_seq) as usize];
        if let Entry::Withheld { .. } = entry {
            self.park(&error).await;
            return Ok(());
        }
        let (leaf, since) = (*entry.leaf(), self.clock.now());
        let withheld = Entry::Withheld { leaf, reason: "refused".to_owned(), since };
        let alone = Batch { stream, first_seq: seq, entries: vec![withheld] };
        let patience = self.config.deliver_timeout;
        let outcome = timeout(patience, self.sink.deliver(&alone)).await;
        match outcome.unwrap_or_else(|_| Err(silence(patience))) {
            Ok(delivery) if delivery.size <= seq => {
                // It was restored to an older state meanwhile.
                let span = Span { stream, from: seq, to: seq + 1 };
                return self.compare(span, delivery.size, delivery).await;
            }
            Ok(_) => {}
            Err(again) if again.class() == Class::Retry => {
                self.fail(Class::Retry, &again);
                return Ok(());
            }
            Err(again) => {
                self.park(&again).await;
                return Ok(());
            }
        }
        let what = subject(entry);
        tracing::warn!(sink, %stream, seq, what, code = error.code, %error, "set aside");
        let letter =
            DeadLetter { class: "reject".to_owned(), code: error.code, reason: error.text };
        self.settle_confirmation().await?;
        self.spool.set_aside(sink, stream, seq, letter, seq + 1).await?;
        self.dead.entry(stream).or_default().insert(seq);
        self.plan.move_to(stream, seq + 1);
        self.show_size(stream, seq + 1);
        self.note(Input::Delivered);
        Ok(())
    }
}

fn silence(patience: Duration) -> SinkError {
    let text = format!("no answer to a batch within {}", seconds(patience));
    SinkError::new(Class::Retry, "timeout", text)
}
