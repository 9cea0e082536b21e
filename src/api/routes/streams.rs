//! Streams over HTTP: an agent asks for the size of one and appends pieces to it.
//!
//! - `GET /api/v1/streams` says which record this is, and that the token holds;
//! - `GET /api/v1/streams/{id}` says the size and the root of a stream;
//! - `POST /api/v1/streams/{id}/stamps` appends a piece, optionally compressed with zstd.
//!
//! Promises: a piece is checked whole before the database hears of it, and confirmed only once it is
//! on disk; the memory of one request is bounded, whatever it unpacks to, and so are the requests at
//! once. Who may speak is `api::auth`'s to say, and whose a stream is the store's.

mod intake;
mod refusal;

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

pub(in crate::api) use self::intake::{
    BYTES_MAX as PIECE_BYTES_MAX, COMPRESSED_BYTES_MAX as PIECE_COMPRESSED_BYTES_MAX,
};
use self::refusal::Refusal;
use crate::api::auth::Auth;
use crate::api::problem::Problem;
use crate::model::batch::{Batch, Entry};
use crate::model::digest::hex;
use crate::model::stream::StreamId;
use crate::runtime::clock::Clock;
use crate::runtime::metrics::{Counter, Counters, Histogram, Metrics};
use crate::store::ingest::{Bearer, Ingest};
use crate::store::streams::Appended;

/// Pieces in hand at once: each may take some 50 MiB. More are told to come again.
const SEATS: usize = 8;

/// What the routes need; clones share it.
#[derive(Clone)]
pub struct Streams(Arc<Inner>);

struct Inner {
    ingest: Ingest,
    auth: Auth,
    clock: Clock,
    seats: Semaphore,
    figures: Figures,
}

/// What is counted of the streams.
pub(in crate::api) struct Figures {
    stamps: Counter,
    duplicates: Counter,
    refused: Counters<1>,
    equivocations: Counter,
    seconds: Histogram,
}

impl Figures {
    pub(in crate::api) fn new(metrics: &Metrics) -> Self {
        Self {
            stamps: metrics
                .counter("stampd_ingest_stamps_total", "Stamps that agents brought and were new."),
            duplicates: metrics
                .counter("stampd_ingest_duplicates_total", "Stamps that agents brought again."),
            refused: metrics.counters(
                "stampd_ingest_refused_total",
                "Requests to /api/v1/streams that were refused, by code.",
                ["code"],
            ),
            equivocations: metrics.counter(
                "stampd_ingest_equivocations_total",
                "Pieces that gave a known position another stamp: a copied or forged stream.",
            ),
            seconds: metrics
                .seconds("stampd_ingest_append_seconds", "How long the store took for a piece."),
        }
    }
}

impl Streams {
    /// Serves `ingest`; counts in `metrics`, once for each registry.
    pub fn new(ingest: Ingest, clock: Clock, metrics: &Metrics) -> Self {
        let figures = Figures::new(metrics);
        let (auth, seats) = (Auth::new(ingest.clone()), Semaphore::new(SEATS));
        Self(Arc::new(Inner { ingest, auth, clock, seats, figures }))
    }
}

fn routes() -> [(&'static str, MethodRouter<Streams>); 3] {
    [
        ("/api/v1/streams", get(record)),
        ("/api/v1/streams/{id}", get(extent)),
        ("/api/v1/streams/{id}/stamps", post(append).get(extent)),
    ]
}

/// The routes, for a router of any state.
pub fn router<S: Clone + Send + Sync + 'static>(streams: Streams) -> Router<S> {
    let add = |router: Router<Streams>, (at, answers)| router.route(at, answers);
    routes().into_iter().fold(Router::new(), add).with_state(streams)
}

/// Where the routes are.
pub(in crate::api) fn paths() -> impl Iterator<Item = String> {
    routes().into_iter().map(|(at, _)| at.to_owned())
}

async fn record(State(streams): State<Streams>, headers: HeaderMap) -> Response {
    streams.answer(streams.tell_record(&headers).await)
}

async fn extent(
    State(streams): State<Streams>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    streams.answer(streams.tell_extent(&id, &headers).await)
}

async fn append(
    State(streams): State<Streams>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    streams.answer(streams.take(&id, request).await)
}

impl Streams {
    fn answer(&self, outcome: Result<Value, Refusal>) -> Response {
        outcome.map_or_else(
            |refusal| {
                let problem = Problem::from(refusal);
                self.0.figures.refused.of([problem.code.as_str()]).inc();
                problem.into_response()
            },
            |told| Json(told).into_response(),
        )
    }

    async fn tell_record(&self, headers: &HeaderMap) -> Result<Value, Refusal> {
        let bearer = self.0.auth.bearer(headers).await?;
        let ledger = self.0.ingest.ledger().await?.ok_or(Refusal::NoLedger)?;
        Ok(json!({
            "status": "success", "success": true, "ledger": ledger,
            "token": { "name": bearer.name, "namespaces": bearer.namespaces },
        }))
    }

    async fn tell_extent(&self, id: &str, headers: &HeaderMap) -> Result<Value, Refusal> {
        let bearer = self.0.auth.bearer(headers).await?;
        let stream = stream_id(id)?;
        let extent = self.0.ingest.extent(&bearer, stream).await?.ok_or(Refusal::Unknown)?;
        Ok(json!({
            "status": "success", "success": true,
            "stream": stream, "size": extent.size, "root": hex(&extent.root),
        }))
    }

    async fn take(&self, id: &str, request: Request) -> Result<Value, Refusal> {
        let bearer = self.0.auth.bearer(request.headers()).await?;
        let stream = stream_id(id)?;
        let _seat = self.0.seats.try_acquire().map_err(|_| Refusal::Busy)?;
        let batch = intake::read(request, stream, self.0.clock.now()).await?;
        check_scope(&bearer, &batch)?;
        let timer = self.0.figures.seconds.start_timer();
        let outcome = self.0.ingest.append(&bearer, &batch).await;
        timer.observe_duration();
        let appended = outcome.map_err(Refusal::from).inspect_err(|refusal| {
            self.raise_alarm(&bearer, stream, refusal);
        })?;
        self.0.figures.stamps.inc_by(appended.accepted);
        self.0.figures.duplicates.inc_by(appended.duplicates);
        if appended.size < batch.end() {
            return Err(Refusal::OutOfOrder(appended));
        }
        tracing::debug!(
            token = bearer.name, %stream, first_seq = batch.first_seq, size = appended.size,
            accepted = appended.accepted, "took a piece of a stream"
        );
        Ok(told(&appended))
    }

    /// Says where a person looks that two agents speak as one.
    fn raise_alarm(&self, bearer: &Bearer, stream: StreamId, refusal: &Refusal) {
        if let Refusal::Equivocation { seq } = refusal {
            self.0.figures.equivocations.inc();
            tracing::error!(
                token = bearer.name, %stream, seq,
                "EQUIVOCATION: an agent gave a known position another stamp; its spool was copied, \
                 or its token is in other hands"
            );
        }
    }
}

fn stream_id(text: &str) -> Result<StreamId, Refusal> {
    text.parse().map_err(|_| Refusal::Unknown)
}

fn check_scope(bearer: &Bearer, batch: &Batch) -> Result<(), Refusal> {
    for entry in &batch.entries {
        if let Entry::Stamp(sealed) = entry
            && !bearer.may(&sealed.stamp.context.namespace)
        {
            return Err(Refusal::OutOfScope(sealed.stamp.context.namespace.clone()));
        }
    }
    Ok(())
}

/// What is held now. `through` is the last seq, null where there is none.
fn told(appended: &Appended) -> Value {
    json!({
        "status": "success", "success": true,
        "through": appended.size.checked_sub(1), "size": appended.size,
        "leaf": appended.head.map(|leaf| leaf.to_string()),
        "accepted": appended.accepted, "duplicates": appended.duplicates,
    })
}
