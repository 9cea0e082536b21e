//! Positions of streams, by the one append; and the gaps between them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Place;

use tokio_postgres::{Client, Statement};
use uuid::Uuid;

use super::Failure;
use crate::model::batch::Entry;
use crate::model::operation::{Event, Operation};
use crate::store::streams::{Gaps, Piece};

pub(super) const GAPS: &str = "SELECT public.stampd_gaps($1, $2)";

/// The most that `stampd_append` takes at once.
const PIECE_ENTRIES_MAX: usize = 5_000;

/// Appends the positions, stream by stream, and opens and closes gaps.
pub(super) async fn write<'e>(
    client: &Client,
    append: &Statement,
    gaps: &Statement,
    events: impl Iterator<Item = &'e Event>,
) -> Result<(), Failure> {
    let pieces = pieces(&in_order(events)?);
    if pieces.is_empty() {
        return Ok(());
    }
    for piece in &pieces {
        piece.send(client, append).await?;
    }
    let streams: Vec<Uuid> = pieces.iter().map(|piece| piece.stream).collect();
    let first_seqs: Vec<i64> = pieces.iter().map(|piece| piece.first_seq).collect();
    client.execute(gaps, &[&streams, &first_seqs]).await?;
    Ok(())
}

/// What is at each position, in the order in which everyone locks streams.
fn in_order<'e>(
    events: impl Iterator<Item = &'e Event>,
) -> Result<BTreeMap<(Uuid, u64), &'e Entry>, Failure> {
    let mut held = BTreeMap::new();
    for event in events {
        let Operation::Position(position) = &event.operation else { continue };
        match held.entry((position.stream.as_uuid(), position.seq)) {
            Place::Vacant(place) => {
                place.insert(&position.entry);
            }
            Place::Occupied(place) if place.get().leaf() != position.entry.leaf() => {
                return Err(Failure::Forked);
            }
            // A body says more than its leaf.
            Place::Occupied(mut place) if matches!(position.entry, Entry::Stamp(_)) => {
                place.insert(&position.entry);
            }
            Place::Occupied(_) => {}
        }
    }
    Ok(held)
}

fn pieces<'e>(held: &BTreeMap<(Uuid, u64), &'e Entry>) -> Vec<Piece<'e>> {
    let mut pieces: Vec<Piece<'e>> = Vec::new();
    for (&(stream, seq), &entry) in held {
        let follows = pieces.last().is_some_and(|piece| {
            piece.stream == stream
                && piece.next_seq() == seq as i64
                && piece.bodies.len() < PIECE_ENTRIES_MAX
        });
        if !follows {
            pieces.push(Piece::empty(stream, seq, 0, Gaps::Kept));
        }
        pieces.last_mut().expect("there is one by now").push(entry);
    }
    pieces
}
