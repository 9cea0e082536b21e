//! OnexTree on real agents: what it answers follows the disk, and tells of nothing else.

mod contract;

use std::fs;
use std::net::TcpListener;

use serde_json::{Value, json};

use crate::agent::{Workplace, text};
use crate::support::client::Client;
use crate::support::process::Agent;
use crate::support::tree::write;
use crate::support::wait::wait_until;
use crate::support::web::Web;

/// OnexTree on a port that the system chooses.
const ONEXTREE: &str = "[onextree]\nlisten = \"127.0.0.1:0\"\n";

/// Starts the agent of a place and says where its OnexTree listens.
fn start(place: &Workplace) -> (Agent, String) {
    let agent = place.home.start_ready();
    let listen = text(&place.status()["onextree"]["listen"]);
    (agent, listen)
}

fn web(listen: &str) -> Web {
    Web(listen.parse().expect("an address"))
}

/// The paths that a query finds.
fn found(client: &mut Client, query: &Value) -> Vec<String> {
    let (status, reply) = client.post("/query", query);
    assert_eq!(status, 200, "{reply}");
    let results = reply["data"]["results"].as_array().expect("a list");
    assert_eq!(reply["data"]["count"], results.len());
    results.iter().map(|result| text(&result["path"])).collect()
}

#[test]
fn answers_follow_the_disk() {
    let place = Workplace::new(ONEXTREE);
    write(&place.repo, "src/main.rs", "fn main() {}");
    write(&place.repo, "src/lib.rs", "");
    write(&place.repo, "docs/main.md", "#");
    let (agent, listen) = start(&place);
    let mut client = Client::connect(&listen);
    let mut ask = |query: Value| found(&mut client, &query);
    assert_eq!(ask(json!({"query": "*.rs"})), ["src/lib.rs", "src/main.rs"], "durable when ready");
    assert_eq!(
        ask(json!({"query": "MAIN", "query_type": "name"})),
        ["docs/main.md", "src/main.rs"]
    );
    assert_eq!(ask(json!({"query": "src/*", "limit": 1})), ["src/lib.rs"]);

    write(&place.repo, "src/new.rs", "");
    wait_until("a new file is found", || ask(json!({"query": "new"})) == ["src/new.rs"]);
    fs::rename(place.repo.join("src/lib.rs"), place.repo.join("docs/lib.rs")).unwrap();
    wait_until("a renamed file is found", || ask(json!({"query": "lib"})) == ["docs/lib.rs"]);
    fs::remove_dir_all(place.repo.join("src")).unwrap();
    wait_until("deleted files are not", || ask(json!({"query": ".rs"})) == ["docs/lib.rs"]);
    write(&place.repo, ".gitignore", "docs/\n");
    wait_until("ignored ones neither", || ask(json!({"query": "*"})) == [".gitignore"]);
    assert_eq!(ask(json!({"query": ".gitignore"})), [".gitignore"], "a name where none ends so");
    drop(client);
    assert!(agent.terminate().success());
}

#[test]
fn repos_come_and_go_while_it_answers() {
    let place = Workplace::new(ONEXTREE);
    write(&place.repo, "one.rs", "1");
    let other = place.home.path().join("other");
    write(&other, "two.rs", "2");
    let (agent, listen) = start(&place);
    let mut client = Client::connect(&listen);
    let query = json!({"query": ".rs"});
    assert_eq!(found(&mut client, &query), ["one.rs"]);
    place.home.must(&["add", other.to_str().unwrap()]);
    wait_until("the new repo is found", || found(&mut client, &query) == ["one.rs", "two.rs"]);
    place.home.must(&["remove", "app"]);
    assert_eq!(found(&mut client, &query), ["two.rs"]);
    drop(client);
    assert!(agent.terminate().success());
}

#[test]
fn it_counts_what_there_is_repo_by_repo() {
    let place = Workplace::new("");
    let other = place.home.path().join("other");
    let more = format!(
        "{ONEXTREE}[[repo]]\nname = \"other\"\npath = \"{}\"\nnamespace = \"it.other.tests\"\n",
        other.display()
    );
    place.configure(&more);
    write(&place.repo, "a/b/one.rs", "x".repeat(1 << 20));
    write(&other, "two.rs", "2");
    let (agent, listen) = start(&place);
    let mut client = Client::connect(&listen);
    for project in [place.repo.display().to_string(), "app".to_owned()] {
        let (status, reply) = client.post("/generate", &json!({"project_root": project}));
        let data = &reply["data"];
        assert_eq!((status, &data["success"]), (200, &json!(true)), "{reply}");
        assert_eq!((&data["total_files"], &data["total_directories"]), (&json!(1), &json!(2)));
        assert_eq!(data["total_size_mb"], 1.0);
    }
    let (_, stats) = client.get("/stats");
    assert_eq!(stats["data"]["total_files"], 2);
    assert_eq!(stats["data"]["file_types"], json!({"rs": 2}));
    assert_eq!(stats["data"]["repos"][1]["name"], "other");
    assert_eq!(found(&mut client, &json!({"query": ".rs"})), ["a/b/one.rs", "two.rs"]);
    let one = json!({"query": ".rs", "project_root": other.display().to_string()});
    assert_eq!(found(&mut client, &one), ["two.rs"]);
    let (_, health) = client.get("/health");
    assert_eq!(health["status"], "healthy");
    assert_eq!((&health["tree_loaded"], &health["total_files"]), (&json!(true), &json!(2)));
    let (_, metrics) = client.text("/metrics");
    assert!(metrics.contains("stampd_onextree_files{repo=\"app\"} 1\n"), "{metrics}");
    assert!(
        metrics.contains("requests_total{route=\"/generate\",status=\"200\"} 2\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains("stampd_onextree_loads_total 2\n"),
        "each index was read once: {metrics}"
    );

    fs::rename(&other, place.home.path().join("moved")).unwrap();
    wait_until("an absent repo is no healthy one", || {
        client.get("/health").1["status"] == "degraded"
    });
    drop(client);
    assert!(agent.terminate().success());
}

#[test]
fn questions_in_words_find_what_belongs_together() {
    let place = Workplace::new(ONEXTREE);
    for path in ["src/auth.rs", "src/main.rs", "tests/test_auth.py", "docs/auth.md", "docs/a.md"] {
        write(&place.repo, path, path);
    }
    let (agent, listen) = start(&place);
    let mut client = Client::connect(&listen);
    let (status, reply) = client.post("/intelligence", &json!({"context": "the auth flow"}));
    assert_eq!((status, &reply["status"]), (200, &json!("success")), "{reply}");
    let data = &reply["data"];
    assert_eq!(data["intelligence"]["analysis_type"], "structure");
    assert_eq!(data["intelligence"]["confidence_score"], 0.5);
    let said = text(&data["intelligence"]["recommendations"]);
    assert!(said.starts_with("Begin with docs/auth.md, src/auth.rs"), "{said}");
    let tests = json!({"source": "tests/test_auth.py", "target": "src/auth.rs", "type": "tests"});
    assert!(data["relationships"].as_array().expect("a list").contains(&tests), "{data}");
    let (_, reply) = client.post(
        "/intelligence",
        &json!({"context": "src", "include_patterns": false, "include_relationships": false}),
    );
    assert_eq!(
        (&reply["data"]["patterns"], &reply["data"]["relationships"]),
        (&json!([]), &json!([]))
    );
    let (_, reply) = client.post("/intelligence", &json!({"context": "src"}));
    assert_eq!(reply["data"]["patterns"], json!(["src/*.rs (2 files)"]));

    let question = json!({"query": "auth", "max_depth": 1, "filters": {"extension": ".rs"}});
    let (status, reply) = client.post("/knowledge/query", &question);
    assert_eq!(status, 200, "{reply}");
    assert_eq!(reply["data"]["results"][0]["path"], "src/auth.rs");
    assert_eq!(reply["data"]["paths"], json!([["app/src", "app/src/auth.rs"]]));
    for (at, body) in [("/intelligence", json!({"context": " "})), ("/knowledge/query", json!({}))]
    {
        assert_eq!(client.post(at, &body).0, 422);
    }
    drop(client);
    assert!(agent.terminate().success());
}

#[test]
fn the_tree_is_walked_up_and_down_from_any_node() {
    let place = Workplace::new(ONEXTREE);
    for path in ["a/b/c.rs", "a/d.rs", "e.rs"] {
        write(&place.repo, path, path);
    }
    let (agent, listen) = start(&place);
    let mut client = Client::connect(&listen);
    let mut walk = |body: Value| {
        let (status, reply) = client.post("/tree/navigate", &body);
        assert_eq!(status, 200, "{reply}");
        let nodes = reply["data"]["nodes"].as_array().expect("a list");
        let edges = reply["data"]["edges"].as_array().expect("a list").len();
        let ids: Vec<String> = nodes.iter().map(|node| text(&node["id"])).collect();
        assert_eq!(edges + 1, ids.len(), "a tree: {reply}");
        (ids, reply["data"]["metadata"]["has_more"].clone())
    };
    let all = ["app", "app/a", "app/e.rs", "app/a/b", "app/a/d.rs", "app/a/b/c.rs"];
    assert_eq!(walk(json!({"start_node": "app"})), (all.map(str::to_owned).to_vec(), json!(false)));
    let (some, has_more) = walk(json!({"start_node": "app", "max_nodes": 3}));
    assert_eq!((some.as_slice(), has_more), (&all.map(str::to_owned)[..3], json!(true)));
    let (up, _) = walk(json!({"start_node": "a/b/c.rs", "direction": "up"}));
    assert_eq!(up, ["app/a/b/c.rs", "app/a/b", "app/a", "app"]);
    let (both, _) = walk(json!({"start_node": "app/a"}));
    assert_eq!(both, ["app/a", "app", "app/a/b", "app/a/d.rs", "app/a/b/c.rs"]);
    for (node, status) in [("nowhere", 404), ("app/a/x", 404), ("app/../..", 422), ("/a", 422)] {
        assert_eq!(client.post("/tree/navigate", &json!({"start_node": node})).0, status, "{node}");
    }
    drop(client);
    assert!(agent.terminate().success());
}

#[test]
fn what_leads_elsewhere_is_refused_and_tells_nothing() {
    let place = Workplace::new(ONEXTREE);
    write(&place.repo, "secret.txt", "s");
    write(place.home.path(), "elsewhere/hidden.txt", "h");
    let (agent, listen) = start(&place);
    let elsewhere = place.home.path().join("elsewhere").display().to_string();
    let climbing = format!("{}/../elsewhere", place.repo.display());
    let mut client = Client::connect(&listen);
    let mut refused = |at: &str, body: Value, expected: u16, field: Value| {
        let (status, reply) = client.post(at, &body);
        assert_eq!(status, expected, "{body}: {reply}");
        assert_eq!(reply["error"][0]["field"], field, "{reply}");
        let said = reply["detail"].as_str().expect("a problem says what to do").to_owned();
        let home = place.home.path().display().to_string();
        assert!(!reply.to_string().contains(&home), "{reply}");
        said
    };
    let unknown =
        [elsewhere, climbing, "/nowhere".into(), "/".into(), "..".into(), "nobody".into()];
    let unknown = unknown.map(|root| {
        refused("/generate", json!({"project_root": root}), 400, json!("project_root"))
    });
    assert!(
        unknown.iter().all(|said| *said == unknown[0]),
        "what is there is told like what is not"
    );
    for query in ["../elsewhere/*", "/etc/passwd", "a/../../b", "", "a[b", "{a", "\\"] {
        let said = refused("/query", json!({"query": query}), 422, json!("query"));
        assert!(said.starts_with("query "), "{said}");
    }
    for (body, field) in [
        (json!({}), json!("query")),
        (json!({"query": 1}), json!("query")),
        (json!({"query": "a", "limit": 0}), json!("limit")),
        (json!({"query": "a", "limit": 1_001}), json!("limit")),
        (json!({"query": "a", "query_type": "regex"}), json!("query_type")),
        (json!({"query": "a".repeat(2_000)}), json!("query")),
        (json!({"query": "a\0b"}), Value::Null),
        (json!([]), Value::Null),
    ] {
        refused("/query", body, 422, field);
    }
    refused("/query", json!({"query": "a", "project_root": "x"}), 400, json!("project_root"));
    refused("/nowhere", json!({}), 404, Value::Null);
    refused("/stats", json!({}), 405, Value::Null);
    let mut client = Client::connect(&listen);
    assert_eq!(found(&mut client, &json!({"query": "hidden"})), [""; 0]);
    drop(client);
    assert!(agent.terminate().success());
}

#[test]
fn ten_megabytes_and_foreign_pages_get_no_further_than_the_door() {
    let place = Workplace::new(ONEXTREE);
    let (agent, listen) = start(&place);
    let web = web(&listen);
    let huge = json!({"query": "x".repeat(10 << 20)});
    // The server may hang up before it has heard it all.
    if let Ok(reply) = web.try_post("/query", &huge) {
        assert_eq!((reply.status, &reply.json()["code"]), (413, &json!("CONTENT_TOO_LARGE")));
    }
    for header in [("Host", "rebound.example"), ("Origin", "https://evil.example")] {
        let reply = web.ask("POST", "/query", &[header], r#"{"query":"a"}"#).unwrap();
        assert_eq!((reply.status, &reply.json()["code"]), (403, &json!("FORBIDDEN")));
        assert_eq!(reply.header("content-type"), Some("application/problem+json"));
    }
    let reply =
        web.ask("POST", "/query", &[("X-Correlation-ID", "me")], r#"{"query":"a"}"#).unwrap();
    assert_eq!((reply.status, reply.header("x-correlation-id")), (200, Some("me")));
    assert!(agent.terminate().success());
}

#[test]
fn with_a_token_only_its_bearer_is_answered() {
    let more = "auth = \"token\"\ntoken = { env = \"ONEXTREE_TOKEN\" }\n";
    let mut place = Workplace::new(&format!("{ONEXTREE}{more}"));
    place.home.set("ONEXTREE_TOKEN", "sesame");
    let (agent, listen) = start(&place);
    let web = web(&listen);
    assert_eq!(web.get("/health").status, 200);
    assert_eq!(web.get("/stats").status, 401);
    let bearer = [("Authorization", "Bearer sesame")];
    assert_eq!(web.ask("GET", "/stats", &bearer, "").unwrap().status, 200);
    assert!(agent.terminate().success());
}

#[test]
fn beyond_loopback_it_asks_for_a_token_or_says_that_it_does_not() {
    let place = Workplace::new("[onextree]\nlisten = \"0.0.0.0:8058\"\n");
    let refused = place.home.run(&["config", "check"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(78));
    assert!(said.contains("[onextree] listen: beyond loopback everybody could call"), "{said}");
}

#[test]
fn a_port_that_is_taken_is_named_with_its_key() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let place = Workplace::new(&format!("[onextree]\nlisten = \"{address}\"\n"));
    let refused = place.home.run(&["run"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(75));
    assert!(said.contains(&format!("listen on {address}: ")), "{said}");
    assert!(said.contains("set another [onextree] listen"), "{said}");
}

#[test]
fn repos_that_come_and_go_are_told_of_while_they_are_there() {
    let place = Workplace::new(ONEXTREE);
    let other = place.home.path().join("lib");
    write(&other, "lib.rs", "1");
    let (agent, listen) = start(&place);
    let mut client = Client::connect(&listen);
    let lib = other.to_str().expect("is text");
    assert_eq!(client.post("/generate", &json!({"project_root": lib})).0, 400);
    place.home.must(&["add", lib, "--namespace", "x.y.z"]);
    wait_until("it is told of", || found(&mut client, &json!({"query": ".rs"})) == ["lib.rs"]);
    assert_eq!(client.post("/generate", &json!({"project_root": lib})).0, 200);
    place.home.must(&["remove", lib]);
    assert_eq!(found(&mut client, &json!({"query": ".rs"})), [""; 0]);
    assert_eq!(client.post("/generate", &json!({"project_root": lib})).0, 400);
    drop(client);
    assert!(agent.terminate().success());
}

#[test]
fn without_the_section_nothing_listens() {
    let place = Workplace::new("");
    let agent = place.home.start_ready();
    assert_eq!(place.status().get("onextree"), None);
    assert!(agent.terminate().success());
}
