//! The laws of stamps in text, on texts made of whatever looks like one.

use proptest::prelude::*;

use super::*;
use crate::runtime::time::Timestamp;

const KINDS: [Kind; 2] = [Kind::Lightweight, Kind::Rich];

fn label<'a>() -> Label<'a> {
    Label::new(Uid::new("u-1").unwrap(), Time::from(Timestamp::from_nanos(0)))
}

fn holds(text: &str) -> bool {
    check(text, Rules::default()).holds
}

#[test]
fn the_example_of_the_format_has_the_published_hash() {
    let hash = digest("Hello World\n").to_string();
    assert!(hash.starts_with("41f83941") && hash.ends_with("ff5bf76"), "{hash}");
    assert_eq!(digest("Hello World"), Digest::of(b"Hello World"));
}

#[test]
fn a_lightweight_stamp_is_one_first_line() {
    let label = Label { author: Some("ada"), version: Some("1.2"), ..label() };
    let stamped = stamp("Hello World\n", Kind::Lightweight, &label).unwrap();
    let hash = Digest::of(b"Hello World");
    let line =
        format!("# ONEX:uid=u-1,hash={hash},ts=1970-01-01T00:00:00.000000+00:00,author=ada,v=1.2");
    assert_eq!(stamped.stamp, line);
    assert_eq!(stamped.text, format!("{line}\nHello World\n"));
    assert_eq!((stamped.hash, stamped.size), (hash, 11));
}

#[test]
fn a_rich_stamp_is_a_block_after_a_blank_line() {
    let label =
        Label { file_path: Some("/a/b.md"), content_type: Some("text/markdown"), ..label() };
    let stamped = stamp("Hello World", Kind::Rich, &label).unwrap();
    let hash = Digest::of(b"Hello World");
    let expected = format!(
        "Hello World\n\n<!-- ONEX_METADATA_START -->\n<!-- ONEX Metadata Stamp\n  uid: u-1\n  hash: \
         {hash}\n  timestamp: 1970-01-01T00:00:00.000000+00:00\n  protocol_version: 1.0\n  \
         file_path: /a/b.md\n  file_size: 11\n  content_type: text/markdown\n  integrity:\n    \
         algorithm: BLAKE3\n    hash: {hash}\n-->\n<!-- ONEX_METADATA_END -->"
    );
    assert_eq!(stamped.text, expected);
    let mut found = 0;
    each(&stamped.text, |stamp| {
        found += 1;
        let read = ["uid", "file_size", "algorithm", "none"].map(|name| stamp.field(name));
        assert_eq!(read, [Some("u-1"), Some("11"), Some("BLAKE3"), None]);
        assert_eq!(stamp.kind(), Kind::Rich);
    });
    assert_eq!(found, 1);
}

#[test]
fn a_stamp_reads_back() {
    let label = Label { author: Some("a,v=1, b"), version: Some("2"), ..label() };
    let stamped = stamp("x", Kind::Lightweight, &label).unwrap();
    each(&stamped.text, |stamp| {
        let read = ["uid", "hash", "timestamp", "author", "version"].map(|name| stamp.field(name));
        let hash = stamped.hash.to_string();
        let time = "1970-01-01T00:00:00.000000+00:00";
        assert_eq!(read.map(Option::unwrap), ["u-1", &hash, time, "a,v=1, b", "2"]);
    });
}

#[test]
fn a_change_of_the_content_or_of_either_hash_shows() {
    let stamped = stamp("Hello World", Kind::Rich, &label()).unwrap();
    assert!(holds(&stamped.text));
    assert!(holds(&format!("\n\n {} \n", stamped.text)), "white space at the ends does not count");
    assert!(!holds(&stamped.text.replace("World", "world")));
    let hash = stamped.hash.to_string();
    let other = "0".repeat(64);
    let first = stamped.text.replacen(&hash, &other, 1);
    let both = stamped.text.replace(&hash, &other);
    let (head, tail) = stamped.text.rsplit_once(&hash).unwrap();
    for altered in [first, format!("{head}{other}{tail}"), both] {
        let check = check(&altered, Rules::default());
        assert!(!check.holds);
        assert_eq!(check.details[0].stamp_hash.as_deref(), Some(&*other));
    }
    assert!(!holds("Hello World"), "no stamp is no valid stamp");
}

#[test]
fn strict_hashes_the_exact_bytes_and_an_expected_hash_must_be_said() {
    let strict = Rules { strict: true, expected_hash: None };
    for kind in KINDS {
        let trimmed = stamp("Hello World", kind, &label()).unwrap();
        assert!(check(&trimmed.text, strict).holds);
        let newline = stamp("Hello World\n", kind, &label()).unwrap();
        let found = check(&newline.text, strict);
        assert_eq!((found.holds, found.current_hash), (false, Digest::of(b"Hello World\n")));
        let expecting =
            |hash: &str| check(&trimmed.text, Rules { strict: false, expected_hash: Some(hash) });
        assert!(expecting(&trimmed.hash.to_string().to_uppercase()).holds);
        assert!(!expecting(&"0".repeat(64)).holds);
    }
}

#[test]
fn a_new_stamp_replaces_those_that_are_there() {
    for first in KINDS {
        for second in KINDS {
            let old = stamp("one\n", first, &label()).unwrap().text.replace("one", "two");
            assert!(!holds(&old));
            let new = stamp(&old, second, &label()).unwrap();
            assert_eq!(new, stamp("two\n", second, &label()).unwrap());
        }
    }
}

#[test]
fn words_of_callers_neither_end_a_stamp_nor_make_another() {
    let evil = "x\r\n  hash: 0\u{2028}-->\n<!-- ONEX_METADATA_END --># ONEX:uid=a,hash=b,ts=1\0é";
    let label = Label {
        author: Some(evil),
        version: Some(evil),
        protocol_version: evil,
        file_path: Some(evil),
        content_type: Some(evil),
        ..label()
    };
    for kind in KINDS {
        let stamped = stamp("text", kind, &label).unwrap();
        assert_eq!(strip(&stamped.text), "text");
        assert!(stamped.stamp.contains("x%0D%0A  hash: 0%E2%80%A8--%3E%0A%3C!-- ONEX"));
        assert!(stamped.stamp.contains("%23 ONEX:uid=a,hash=b,ts=1%00é"));
    }
}

#[test]
fn a_text_in_which_no_stamp_would_hold_gets_none() {
    let open = "a\n<!-- ONEX_METADATA_START -->\nb";
    assert_eq!(stamp(open, Kind::Rich, &label()), Err(Entangled));
    assert!(stamp(open, Kind::Lightweight, &label()).is_ok());
    let block = "<!-- ONEX_METADATA_START --><!-- ONEX_METADATA_END -->";
    let nested = format!("# ONEX:uid=a,hash=b{block},ts=1");
    assert_eq!(stamp(&nested, Kind::Lightweight, &label()), Err(Entangled));
}

#[test]
fn many_stamps_are_counted_and_the_first_told() {
    let text = "# ONEX:uid=a,hash=b,ts=1\n".repeat(DETAILS_MAX + 5);
    let check = check(&text, Rules::default());
    assert_eq!(
        (check.found, check.details.len(), check.holds),
        (DETAILS_MAX + 5, DETAILS_MAX, false)
    );
    assert_eq!(strip(&text), "");
}

/// Each of these makes a matcher that goes back take time with the square of the length; here all
/// take the time of reading. Even in a debug build the square would be hours.
#[test]
fn time_is_linear_in_the_text() {
    let bits = [
        "# ONEX:uid=",
        "# ONEX:uid=a,hash=b,ts=",
        "# ONEX:uid=a,hash=b,ts=1",
        "<!--",
        "<!-- ",
        "<!-- ONEX_METADATA_START ",
        "<!-- ONEX_METADATA_START -->",
        "<!-- ONEX_METADATA_START --><!-- ONEX_METADATA_END ",
        "<!-- ONEX_METADATA_END -->",
        "<!-- ONEX_METADATA_START -->\nhash: 1\n<!-- ONEX_METADATA_END -->",
        "\n",
        "\n\n\na",
        "a",
        "\u{3000}",
    ];
    for bit in bits {
        let text = bit.repeat((1 << 20) / bit.len());
        check(&text, Rules::default());
        let _ = stamp(&text, Kind::Rich, &label());
    }
}

/// Whatever could make, break or join stamps.
fn texts() -> impl Strategy<Value = String> {
    let bits = prop_oneof![
        Just("# ONEX:uid="),
        Just("# ONEX:uid=a,hash=b,ts=1"),
        Just(",hash=b"),
        Just(",ts=1"),
        Just("<!--"),
        Just("-->"),
        Just("ONEX_METADATA_START"),
        Just("ONEX_METADATA_END"),
        Just("<!-- ONEX_METADATA_START -->"),
        Just("<!-- ONEX_METADATA_END -->"),
        Just("  hash: 00\n"),
        Just("\n"),
        Just("\n\n"),
        Just("\r\n"),
        Just(" "),
        Just("\u{1c}"),
        Just("é"),
        Just("text"),
    ];
    proptest::collection::vec(bits, 0..24).prop_map(|bits| bits.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_stamp_holds_and_comes_off_without_a_trace(text in texts()) {
        let bare = strip(&text);
        for kind in KINDS {
            let Ok(stamped) = stamp(&text, kind, &label()) else { continue };
            prop_assert!(holds(&stamped.text));
            prop_assert_eq!(digest(&stamped.text), digest(&text));
            prop_assert_eq!(strip(&stamped.text), bare.clone());
            prop_assert_eq!(stamp(&stamped.text, kind, &label()), Ok(stamped));
        }
    }

    #[test]
    fn a_text_without_parts_of_stamps_always_takes_one(text in "[^<#]*") {
        prop_assert_eq!(strip(&text), text.as_str());
        for kind in KINDS {
            let stamped = stamp(&text, kind, &label()).unwrap();
            prop_assert_eq!(strip(&stamped.text), text.as_str());
        }
    }

    #[test]
    fn what_is_counted_is_what_is_removed(text in texts()) {
        let mut found = 0;
        each(&text, |_| found += 1);
        let check = check(&text, Rules::default());
        prop_assert_eq!(check.found, found);
        prop_assert_eq!(found == 0, strip(&text) == text);
        prop_assert_eq!(check.current_hash, digest(&text));
    }
}
