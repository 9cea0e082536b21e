//! Dead letters, tried again by a person's word.
//!
//! A letter is read as its record was, by today's rules, and does to the rows what it would have
//! done; what took effect before has no further one. Offsets are not touched.

use super::read::again;
use super::route::Topics;
use crate::store::StoreError;
use crate::store::dead::{self, Letter, Reason};
use crate::store::operations::Intake;

/// What became of a letter.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It is in effect.
    Taken,
    /// It was refused again, for this reason.
    Refused(Reason),
    /// Its topic is not one of those that are read.
    Foreign,
}

/// Tries a letter again.
pub async fn retry(
    intake: &mut Intake,
    topics: &Topics,
    letter: &Letter,
) -> Result<Outcome, StoreError> {
    let Some(slug) = topics.slug(&letter.record.topic) else { return Ok(Outcome::Foreign) };
    let refused = match again(slug, letter.record.clone()).read {
        Err(reason) => Some(reason),
        Ok(event) => intake.retry(&[event]).await?.dead.pop().map(|(_, reason)| reason),
    };
    match refused {
        None => {
            dead::resolved(intake.session(), &[letter.id]).await?;
            Ok(Outcome::Taken)
        }
        Some(reason) => {
            dead::retried(intake.session(), &[letter.id]).await?;
            Ok(Outcome::Refused(reason))
        }
    }
}
