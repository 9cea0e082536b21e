//! The laws of the fuzz targets, on some thousand texts: `cargo fuzz` has more patience, and the
//! same laws.

use proptest::prelude::*;
use proptest::sample::{Index, select};

#[path = "../../fuzz/laws/body.rs"]
mod body;
#[path = "../../fuzz/laws/onex_text.rs"]
mod onex_text;

fn golden(jsonl: &str, key: &str) -> Vec<String> {
    let text = |line| serde_json::from_str::<serde_json::Value>(line).unwrap()[key].clone();
    jsonl.lines().map(|line| text(line).as_str().unwrap().to_owned()).collect()
}

/// Where two cuts are made in a text, and what stands between them afterwards.
type Change = (Index, Index, String);

fn changes(bits: Vec<&'static str>) -> impl Strategy<Value = Vec<Change>> {
    let bit =
        prop_oneof![select(bits).prop_map(str::to_owned), any::<String>(), Just(String::new())];
    proptest::collection::vec((any::<Index>(), any::<Index>(), bit), 0..4)
}

/// The text, changed; a cut is short, or nothing of the text would be left.
fn changed(mut text: String, changes: &[Change]) -> String {
    for (at, length, bit) in changes {
        let starts: Vec<usize> =
            text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        let start = at.index(starts.len());
        let end = (start + length.index(8)).min(starts.len() - 1);
        text.replace_range(starts[start]..starts[end], bit);
    }
    text
}

fn texts() -> impl Strategy<Value = String> {
    let bits = vec![
        "# ONEX:uid=u,hash=h,ts=1",
        "<!-- ONEX_METADATA_START -->",
        "<!-- ONEX_METADATA_END -->",
        "<!--",
        "-->",
        "\n",
        "\u{1c}",
    ];
    let known = golden(include_str!("../cases/onex_text/golden.jsonl"), "text");
    (select(known), changes(bits)).prop_map(|(text, changes)| changed(text, &changes))
}

fn bodies() -> impl Strategy<Value = String> {
    let bits = vec![
        "\"labels\":{\"\u{e000}\":\"\",\"\u{10000}\":\"\"},",
        "\"labels\":{\"\u{10000}\":\"\",\"\u{e000}\":\"\"},",
        "9007199254740992",
        "9007199254740993",
        "-1",
        "1e3",
        "null",
        "\\u0041",
        "\\/",
        "\"",
        "{",
        "}",
        ",",
    ];
    let known = golden(include_str!("../cases/spool/golden.jsonl"), "body");
    (select(known), changes(bits)).prop_map(|(body, changes)| changed(body, &changes))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn stamps_in_any_text_are_found_removed_and_made_by_the_laws(text in texts()) {
        onex_text::hold(&text);
    }

    #[test]
    fn a_text_is_read_as_a_body_only_where_it_is_a_canonical_one(text in bodies()) {
        body::hold(&text);
    }
}
