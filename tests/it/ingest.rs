//! Ingest over HTTP: what a bridge takes from whom, what it refuses, and what is there afterwards.

use std::time::Duration;

use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use stampd::model::batch::Batch;
use stampd::model::digest::hex;
use stampd::model::piece;
use stampd::model::stream::{CompactRange, StreamId};
use stampd::store::streams::{self, Gaps};

use crate::support::bridge::Server;
use crate::support::process::Home;
use crate::support::record::{entry, piece, session, stamp, stream, withheld};
use crate::support::wait::wait_for_async;

/// A bridge and who speaks to it.
struct Scene {
    server: Server,
    client: Client,
    token: String,
}

impl Scene {
    async fn new() -> Self {
        let server = Server::start().await;
        let token = server.token("ann", &[]).await;
        // An idle connection would outlive a restart.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().pool_max_idle_per_host(0).build().expect("a client");
        Self { server, client, token }
    }

    fn post_to(&self, stream: StreamId, token: &str) -> RequestBuilder {
        let url = self.server.url(&format!("/api/v1/streams/{stream}/stamps"));
        self.client.post(url).bearer_auth(token)
    }

    async fn send(&self, batch: &Batch) -> (u16, Value) {
        self.send_as(&self.token, batch).await
    }

    async fn send_as(&self, token: &str, batch: &Batch) -> (u16, Value) {
        answer(self.post_to(batch.stream, token).body(piece::render(batch))).await
    }

    async fn extent(&self, token: &str, stream: StreamId) -> (u16, Value) {
        let url = self.server.url(&format!("/api/v1/streams/{stream}"));
        answer(self.client.get(url).bearer_auth(token)).await
    }

    async fn count(&self, query: &str) -> i64 {
        self.server.record.count(query).await
    }
}

async fn answer(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.expect("it answers");
    let status = response.status().as_u16();
    let text = response.text().await.expect("it answers");
    (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status}: {text}")))
}

#[track_caller]
fn refused(answer: &(u16, Value), status: u16, code: &str) {
    let (found, body) = answer;
    assert_eq!((*found, body["code"].as_str()), (status, Some(code)), "{body}");
    assert_eq!((&body["success"], &body["status"]), (&json!(false), &json!("error")), "{body}");
    assert_eq!(body["status_code"], status, "{body}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_piece_is_confirmed_with_its_rows_and_its_place_in_the_outbox() {
    let (scene, stream) = (Scene::new().await, stream());
    for (seqs, through) in [(0..5, 4), (0..5, 4), (3..9, 8)] {
        let (status, body) = scene.send(&piece(stream, seqs)).await;
        assert_eq!((status, &body["through"]), (200, &json!(through)), "{body}");
        assert_eq!(body["leaf"], piece(stream, through..through + 1).entries[0].leaf().to_string());
    }
    assert_eq!(scene.count("SELECT count(*) FROM stamp_events").await, 9);
    assert_eq!(scene.count("SELECT count(*) FROM metadata_stamps").await, 9);
    let outbox = "SELECT sum(next_seq - first_seq)::bigint FROM outbox";
    assert_eq!(scene.count(outbox).await, 9, "each goes onto the topic once");
    let mut tree = CompactRange::default();
    piece(stream, 0..9).entries.iter().for_each(|entry| tree.push(entry.leaf()));
    let (status, body) = scene.extent(&scene.token, stream).await;
    assert_eq!((status, &body["size"], &body["root"]), (200, &json!(9), &json!(hex(&tree.root()))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_piece_that_begins_too_late_is_told_where_to_begin() {
    let (scene, stream) = (Scene::new().await, stream());
    let early = scene.send(&piece(stream, 3..5)).await;
    refused(&early, 409, "OUT_OF_ORDER");
    assert_eq!(early.1["size"], 0);
    scene.send(&piece(stream, 0..2)).await;
    let early = scene.send(&piece(stream, 3..5)).await;
    assert_eq!((early.0, &early.1["size"]), (409, &json!(2)));
    assert_eq!(scene.count("SELECT count(*) FROM stamp_events").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_stamp_under_a_known_seq_raises_the_alarm_and_changes_nothing() {
    let (scene, stream) = (Scene::new().await, stream());
    scene.send(&piece(stream, 0..4)).await;
    let mut forged = piece(stream, 0..6);
    let mut other = stamp(stream, 2);
    other.size = Some(999);
    forged.entries[2] = entry(other);
    let forged = scene.send(&forged).await;
    refused(&forged, 409, "EQUIVOCATION");
    assert_eq!(forged.1["seq"], 2);
    assert_eq!(scene.count("SELECT count(*) FROM stamp_events").await, 4);
    let told = scene.server.metrics.exposition();
    assert!(told.contains("stampd_ingest_equivocations_total 1\n"), "{told}");
    assert!(told.contains("stampd_ingest_refused_total{code=\"EQUIVOCATION\"} 1\n"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_that_of_the_token_that_opened_it() {
    let (scene, stream) = (Scene::new().await, stream());
    let other = scene.server.token("bob", &[]).await;
    scene.send(&piece(stream, 0..4)).await;
    refused(&scene.send_as(&other, &piece(stream, 0..6)).await, 403, "FORBIDDEN");
    refused(&scene.send_as(&other, &piece(stream, 4..6)).await, 403, "FORBIDDEN");
    refused(&scene.extent(&other, stream).await, 403, "FORBIDDEN");
    assert_eq!(scene.count("SELECT size FROM streams").await, 4);
    // The name is the agent: its next token goes on.
    scene.server.revoke("ann").await;
    let next = scene.server.token("ann", &[]).await;
    assert_eq!(scene.send_as(&next, &piece(stream, 4..6)).await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_namespaces_in_scope_are_taken() {
    let (scene, stream) = (Scene::new().await, stream());
    let narrow = scene.server.token("narrow", &["projectb.services.metadata"]).await;
    refused(&scene.send_as(&narrow, &piece(stream, 0..4)).await, 403, "FORBIDDEN");
    assert_eq!(scene.count("SELECT count(*) FROM streams").await, 0);
    let wide = ["projectb.services.metadata", "projecta.services.metadata"];
    let wide = scene.server.token("wide", &wide).await;
    assert_eq!(scene.send_as(&wide, &piece(stream, 0..4)).await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_speaks_without_a_token_in_force() {
    let (scene, stream) = (Scene::new().await, stream());
    let batch = piece(stream, 0..2);
    for token in ["", "x", "stampd_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
        refused(&scene.send_as(token, &batch).await, 401, "UNAUTHORIZED");
        refused(&scene.extent(token, stream).await, 401, "UNAUTHORIZED");
    }
    assert_eq!(scene.send(&batch).await.0, 200);
    scene.server.revoke("ann").await;
    // What was remembered does not let a piece in, and is forgotten soon.
    refused(&scene.send(&piece(stream, 2..4)).await, 401, "UNAUTHORIZED");
    wait_for_async("the revocation acts", async || {
        (scene.extent(&scene.token, stream).await.0 == 401).then_some(())
    })
    .await;
    assert_eq!(scene.count("SELECT size FROM streams").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_another_road_is_taken_over_by_who_tells_it_from_its_beginning() {
    let (scene, stream) = (Scene::new().await, stream());
    let mut direct = session(&scene.server.record.agent).await;
    streams::append(&mut direct, &[&piece(stream, 0..5)], Gaps::Refused).await.expect("taken");
    let guess = scene.send(&piece(stream, 5..7)).await;
    assert_eq!((guess.0, &guess.1["size"]), (409, &json!(0)), "{}", guess.1);
    refused(&scene.extent(&scene.token, stream).await, 404, "STREAM_NOT_FOUND");
    let (status, body) = scene.send(&piece(stream, 0..7)).await;
    assert_eq!((status, &body["accepted"], &body["duplicates"]), (200, &json!(2), &json!(5)));
    // The direct road made no events, so all of them are due.
    assert_eq!(scene.count("SELECT next_seq - first_seq FROM outbox").await, 7);
    streams::append(&mut direct, &[&piece(stream, 7..9)], Gaps::Refused).await.expect("taken");
    assert_eq!(scene.send(&piece(stream, 7..9)).await.1["duplicates"], 2);
    assert_eq!(scene.count("SELECT sum(next_seq - first_seq)::bigint FROM outbox").await, 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_comes_late_goes_onto_the_topic_late() {
    let (scene, stream) = (Scene::new().await, stream());
    let mut batch = piece(stream, 0..3);
    batch.entries[1] = withheld(stamp(stream, 1));
    assert_eq!(scene.send(&batch).await.0, 200);
    assert_eq!(scene.send(&piece(stream, 1..2)).await.1["accepted"], 1);
    assert_eq!(scene.count("SELECT count(*) FROM outbox").await, 2);
    assert_eq!(scene.extent(&scene.token, stream).await.1["size"], 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_piece_of_the_stream_is_refused_before_the_database_hears_of_it() {
    let (scene, stream) = (Scene::new().await, stream());
    let good = piece::render(&piece(stream, 0..3));
    let post = || scene.post_to(stream, &scene.token);
    for text in ["", "{", "[]", "{}", "{\"first_seq\":0,\"stamps\":[]}", "\u{0}"] {
        refused(&answer(post().body(text)).await, 422, "VALIDATION_ERROR");
    }
    let altered = answer(post().body(good.replacen("\"size\":1", "\"size\":\"x\"", 1))).await;
    refused(&altered, 422, "VALIDATION_ERROR");
    assert_eq!(altered.1["seq"], 1);
    let newer = answer(post().body(good.replacen("\"v\":1", "\"v\":2", 1))).await;
    refused(&newer, 422, "VERSION_UNSUPPORTED");
    let of_another = crate::support::record::stream();
    refused(
        &answer(scene.post_to(of_another, &scene.token).body(good.clone())).await,
        422,
        "VALIDATION_ERROR",
    );
    let named = scene.client.post(scene.server.url("/api/v1/streams/x/stamps"));
    refused(
        &answer(named.bearer_auth(&scene.token).body(good.clone())).await,
        404,
        "STREAM_NOT_FOUND",
    );
    let gzip = post().header("content-encoding", "gzip").body(good.clone());
    refused(&answer(gzip).await, 415, "ENCODING_UNSUPPORTED");
    let garbled = post().header("content-encoding", "zstd").body(good);
    refused(&answer(garbled).await, 422, "VALIDATION_ERROR");
    assert_eq!(scene.count("SELECT count(*) FROM streams").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_as_it_comes_or_as_it_is_asks_for_less() {
    let (scene, stream) = (Scene::new().await, stream());
    let post = || scene.post_to(stream, &scene.token);
    let mib = 1024 * 1024;
    let plain = post().body(vec![b' '; 16 * mib + 1]);
    refused(&answer(plain).await, 413, "CONTENT_TOO_LARGE");
    let bomb = zstd::encode_all(&vec![b' '; 256 * mib][..], 1).expect("it packs");
    assert!(bomb.len() < mib);
    let bomb = post().header("content-encoding", "zstd").body(bomb);
    refused(&answer(bomb).await, 413, "CONTENT_TOO_LARGE");
    let many = format!("{{\"first_seq\":0,\"stamps\":[{}1]}}", "1,".repeat(5_000));
    refused(&answer(post().body(many)).await, 413, "CONTENT_TOO_LARGE");
    assert_eq!(scene.send(&piece(stream, 0..2)).await.0, 200, "the bridge is unharmed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_is_told_at_once_and_is_back_by_itself() {
    let (scene, stream) = (Scene::new().await, stream());
    scene.send(&piece(stream, 0..2)).await;
    scene.server.record.database.block();
    let started = std::time::Instant::now();
    let away = scene.post_to(stream, &scene.token).body(piece::render(&piece(stream, 2..4)));
    let response = away.send().await.expect("it answers");
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    scene.server.record.database.unblock();
    assert_eq!(scene.send(&piece(stream, 2..4)).await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_issued_listed_and_revoked_from_the_command_line() {
    let scene = Scene::new().await;
    let admin = scene.server.record.database.admin();
    let mut home = Home::new();
    home.set("PASSWORD", &admin.password);
    home.configure(&format!(
        "[postgres]\nurl = {:?}\npassword = {{ env = \"PASSWORD\" }}\n",
        admin.url_without_password()
    ));
    let token = home.must(&["token", "new", "cli", "--namespace", "projecta.services.metadata"]);
    let token = token.strip_suffix('\n').expect("a line");
    assert!(token.starts_with("stampd_") && !token.contains(char::is_whitespace), "{token}");
    assert_eq!(scene.send_as(token, &piece(stream(), 0..2)).await.0, 200);
    assert_eq!(home.run(&["token", "new", "cli"]).status.code(), Some(4), "it has one");
    let listed: Value =
        serde_json::from_str(&home.must(&["token", "ls", "--format", "json"])).expect("JSON");
    assert_eq!(listed["schema"], "stampd.tokens/v1");
    let cli = &listed["tokens"][1];
    assert_eq!((&cli["name"], &cli["streams"]), (&json!("cli"), &json!(1)), "{listed}");
    assert!(!listed.to_string().contains(token), "a token is never shown again");
    home.must(&["token", "revoke", "cli"]);
    assert_eq!(home.run(&["token", "revoke", "cli"]).status.code(), Some(7));
    refused(&scene.send_as(token, &piece(stream(), 0..2)).await, 401, "UNAUTHORIZED");
    let people = home.must(&["token", "ls"]);
    assert!(people.lines().count() == 3 && people.starts_with("NAME"), "{people}");
}
